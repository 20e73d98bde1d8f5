// Runs one operation of the CPU kernels so many times: what an emulator's counter is put on.
//
//     one_operation forward|backward|loss|loss_backward 2|3 times
//
// It prints the number of logits of one time. float32, window 3, a label map, one thread.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "../../../csrc/contract/calls.h"
#include "../../../csrc/cpu/kernels.h"

namespace {

using namespace scnp;

template <class T>
View<T> contiguous(const Geometry& geometry, T* data, int64_t channels) {
  View<T> view;
  view.data = data;
  int64_t stride = 1;
  for (int axis = kInner; axis >= kOuter; --axis) {
    view.axis[axis] = stride;
    stride *= geometry.size[axis];
  }
  view.channel = channels > 1 ? stride : 0;
  view.batch = stride * channels;
  return view;
}

const cpu::Workers kOneWorker = {
    1, [](int64_t items, const std::function<void(int64_t, int64_t)>& body) { body(0, items); }};

}  // namespace

int main(int count, char** words) {
  if (count != 4) {
    return 2;
  }
  const std::string operation = words[1];
  Geometry geometry;
  geometry.batch = 1;
  if (words[2][0] == '2') {
    geometry.channels = 2;
    geometry.size[kOuter] = 128;
    geometry.size[kInner] = 512;
    geometry.window[kOuter] = geometry.window[kInner] = 3;
  } else {
    geometry.channels = 3;
    for (int axis = 0; axis < kAxes; ++axis) {
      geometry.size[axis] = axis == kInner ? 64 : 24;
      geometry.window[axis] = 3;
    }
  }
  const auto length = static_cast<size_t>(geometry.logits());
  std::mt19937 random(1);
  std::vector<float> logits(length);
  for (float& logit : logits) {
    logit = static_cast<float>(random() % 4096) / 512 - 4;
  }
  std::vector<int64_t> labels(static_cast<size_t>(geometry.pixels()));
  for (size_t i = 0; i < labels.size(); ++i) {
    labels[i] = static_cast<int64_t>(i / 13 % static_cast<size_t>(geometry.channels));
  }
  std::vector<float> penalized(length);
  std::vector<float> gradient(length);
  std::vector<char> winners(length);
  std::vector<double> statistics(static_cast<size_t>(2 * kDiceCEStatistics * geometry.channels));

  const auto bytes = [](std::vector<float>& values) {
    return reinterpret_cast<char*>(values.data());
  };
  const auto tensor = [&](char* data) {
    return contiguous<char>(geometry, data, geometry.channels);
  };
  const auto input = [&](char* data) {
    return contiguous<const char>(geometry, data, geometry.channels);
  };
  Target target;
  target.data = labels.data();
  target.strides = contiguous<const uint8_t>(geometry, nullptr, 1);
  target.label_count = geometry.channels;
  target.validate = true;

  ForwardCall forward;
  forward.geometry = geometry;
  forward.logits = input(bytes(logits));
  forward.target = target;
  forward.penalized = tensor(bytes(penalized));
  forward.winners = tensor(winners.data());
  ScatterCall scatter;
  scatter.geometry = geometry;
  scatter.gradient = input(bytes(penalized));
  scatter.winners = input(winners.data());
  scatter.logits_gradient = tensor(bytes(gradient));
  DiceCEForwardCall loss;
  loss.geometry = geometry;
  loss.logits = input(bytes(logits));
  loss.target = target;
  loss.winners = tensor(winners.data());
  loss.statistics = statistics.data();
  DiceCEBackwardCall loss_backward;
  static_cast<DiceCECall&>(loss_backward) = loss;
  loss_backward.statistics_gradient = statistics.data();
  loss_backward.winners = input(winners.data());
  loss_backward.logits_gradient = tensor(bytes(gradient));

  cpu::forward(forward, kOneWorker);  // the winners that backward passes read
  for (int time = std::atoi(words[3]); time > 0; --time) {
    if (operation == "forward") {
      cpu::forward(forward, kOneWorker);
    } else if (operation == "backward") {
      cpu::scatter(scatter, kOneWorker);
    } else if (operation == "loss") {
      cpu::dice_ce_forward(loss, kOneWorker);
    } else if (operation == "loss_backward") {
      cpu::dice_ce_backward(loss_backward, kOneWorker);
    } else {
      return 2;
    }
  }
  std::printf("%lld\n", static_cast<long long>(geometry.logits()));
  return 0;
}
