// Mistakes of the kind that the sanitizers are there for. Each must end the process with a report;
// where one does not, a silent run of the suite would prove nothing.
#include <cstdint>
#include <limits>
#include <vector>

#pragma GCC visibility push(default)
extern "C" {

int64_t read_behind_the_end(int64_t count) {
  const std::vector<int64_t> values(count, 1);
  const int64_t* data = values.data();
  int64_t total = 0;
  for (int64_t i = 0; i <= count; ++i) {
    total += data[i];
  }
  return total;
}

int64_t write_after_release(int64_t count) {
  auto* values = new int64_t[count];
  values[0] = count;
  delete[] values;
  const_cast<volatile int64_t*>(values)[0] = 1;
  return count;
}

int64_t overflow(int64_t by) {
  return std::numeric_limits<int64_t>::max() + by;
}

int64_t convert_out_of_range(double value) {
  return static_cast<int64_t>(value);
}

int64_t load_misaligned(const char* bytes) {
  return *reinterpret_cast<const int64_t*>(bytes + 1);
}
}
#pragma GCC visibility pop
