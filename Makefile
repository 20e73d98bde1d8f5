# make demo   train a small U-Net with and without SCNP, and show what it does to the topology
# make test   the test suite, on the kernels built from this checkout
# make bench  measure the kernels against their peers; rewrites the README's tables and pictures
# make gpu-check   what can be proved of the GPU kernels without a GPU
# make gpu-test    the contract on every backend of this machine's GPU; writes a report
# make lint   ruff, mypy, clang-format
#
# Each makes its own .venv when there is none. Choose another torch with TORCH=torch==X.Y.Z.

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test bench lint clean gpu-check gpu-test

# Reinstalled when a source, the build or the metadata changes.
NATIVE := $(shell find csrc -type f) setup.py pyproject.toml scnp_kernels/build_description.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and alone: every other package then takes it as it is.
$(VENV)/torch.installed: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" "setuptools>=77" wheel ninja numpy
	touch $@

$(VENV)/native.installed: $(VENV)/torch.installed $(NATIVE)
	SCNP_BUILD=cpu $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[demo,test,bench]"
	touch $@

# The tools alone: the package is there already, and building it again would take a minute.
LINT_TOOLS := $(shell sed -n 's/^lint = \[\(.*\)\]/\1/p' pyproject.toml | tr -d '",')
$(VENV)/lint.installed: $(VENV)/native.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(LINT_TOOLS)
	touch $@

# A CUDA build of torch, several gigabytes: an environment of its own, for what needs one.
CUDA_TORCH ?= torch==2.14.1 torchvision==0.29.1
CUDA_VENV ?= .venv-cuda
CUDA_BIN := $(CUDA_VENV)/bin

$(CUDA_VENV)/torch.installed:
	$(PYTHON) -m venv $(CUDA_VENV)
	$(CUDA_BIN)/python -m pip install --quiet --disable-pip-version-check $(CUDA_TORCH) "setuptools>=77" wheel ninja numpy
	touch $@

# The GPU kernels are checked on the newest and the oldest triton, beside a CPU build of torch.
NEWEST_TRITON := triton==3.9.0
OLDEST_TRITON := triton==3.6.0
TTSEM := ttsem==0.1.0
# The interpreter of triton 3.6 converts arrays of one element to integers, which numpy 2.4 refuses.

.venv-triton-%/torch.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" "setuptools>=77" ninja numpy
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check pytest hypothesis
	touch $@

.venv-triton-newest/triton.installed: .venv-triton-newest/torch.installed
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "$(NEWEST_TRITON)"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python "$(TTSEM)"
	touch $@

.venv-triton-oldest/triton.installed: .venv-triton-oldest/torch.installed
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "$(OLDEST_TRITON)"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check "numpy<2.4"
	touch $@

gpu-check: .venv-triton-newest/triton.installed .venv-triton-oldest/triton.installed
	.venv-triton-newest/bin/python -m tests.gpu_check \
		--newest .venv-triton-newest/bin/python --oldest .venv-triton-oldest/bin/python

# For a machine with a GPU: GPU_PYTHON is an environment with its torch, pytest and hypothesis.
GPU_PYTHON ?= $(CUDA_BIN)/python
GPU_REPORT ?= build/gpu_report.md

gpu-test: $(if $(filter $(CUDA_BIN)/python,$(GPU_PYTHON)),$(CUDA_VENV)/torch.installed)
	$(GPU_PYTHON) -m pip install --quiet --disable-pip-version-check pytest hypothesis numpy
	$(GPU_PYTHON) -m tests.gpu_test --report $(GPU_REPORT)

DEMO_OPTIONS := $(if $(DATA),--data "$(DATA)") $(if $(SEEDS),--seeds $(SEEDS)) \
	$(if $(KERNEL_SIZE),--kernel-size $(KERNEL_SIZE)) $(if $(ITERATIONS),--iterations $(ITERATIONS)) \
	$(if $(OUT),--out "$(OUT)")

demo: $(VENV)/native.installed
	$(BIN)/python -m benchmarks.demo $(DEMO_OPTIONS)

test: $(VENV)/native.installed
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

ifeq ($(DEVICE),cuda)
bench: $(if $(filter $(CUDA_BIN)/python,$(GPU_PYTHON)),$(CUDA_VENV)/torch.installed)
	$(GPU_PYTHON) -m benchmarks.gpu --report $(GPU_REPORT) $(BENCH_OPTIONS)
else
bench: $(VENV)/native.installed
	$(BIN)/python -m benchmarks.kernels $(BENCH_OPTIONS)
endif

lint: $(VENV)/lint.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(find csrc -name '*.h' -o -name '*.cpp')

clean:
	rm -rf $(VENV) $(CUDA_VENV) .venv-triton-newest .venv-triton-oldest build *.egg-info scnp_kernels/_C*.so
