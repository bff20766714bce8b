# Every target works on a fresh Debian machine with Python 3.11 or newer, make and git.
PYTHON ?= python3
JOBS ?= $(shell env -u OMP_NUM_THREADS nproc)
BIN := .venv/bin
HYDRA14 := .venv-hydra14/bin/python

# Trials and tests share the cores: one thread for each is faster than all cores for each.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup packages demo test test-hydra14 parity test-slow slurm-up slurm-down lint format lock bench bench-search bench-training build clean

help:  ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /make \1\t/' | expand -t 20

setup: .venv/.installed  ## make .venv with everything that requirements.lock pins

demo: setup  ## run a real sweep: 24 trials on scikit-learn's digits
	$(BIN)/python train.py -m hydra/sweeper=wandbsweep

packages: setup  ## as root: install Debian's packages that tests need (SLURM, MariaDB, PostgreSQL)
	@$(BIN)/python -m scripts.debian

test: setup packages  ## run all tests
	-@$(MAKE) --no-print-directory .venv-hydra14/.installed  # without it, two tests are skipped
	WANDB_MODE=offline $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-slow: setup packages  ## run the tests that take long and rarely break
	WANDB_MODE=offline $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow $(ARGS)

test-hydra14: .venv-hydra14/.installed  ## run the plugin's tests under Hydra 1.4, in an environment of its own
	WANDB_MODE=offline $(HYDRA14) -m pytest -n $(JOBS) --dist worksteal \
		-W "ignore:The version_base parameter:UserWarning" tests/plugin tests/bridge $(ARGS)

parity: setup  ## compare trials with the jobs of Hydra's own sweeper, under each launcher and isolation (an hour)
	PARITY=all WANDB_MODE=offline $(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/parity $(ARGS)

slurm-up:  ## start a SLURM cluster with fake GPUs on this machine (SLURM_DIR=... for another directory)
	@$(PYTHON) -m scripts.slurm up $(SLURM_DIR)

slurm-down:  ## stop that cluster
	@$(PYTHON) -m scripts.slurm down $(SLURM_DIR)

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## apply what lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup  ## pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --upgrade --quiet \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file requirements.lock

bench: setup  ## measure the overheads that the README states
	$(BIN)/python benchmarks/overhead.py

bench-search: setup  ## compare the search with others (FULL=1: everything, days; BENCH_CURVES=DIR: TaskSet's curves)
	$(BIN)/python -m benchmarks.search.bench run --processes $(JOBS) $(if $(FULL),--full) $(ARGS)

bench-training: setup  ## measure a trial of train.py beside a plain PyTorch loop of the same training
	$(BIN)/python benchmarks/training/ratio.py $(ARGS)

build: setup  ## build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

clean:  ## remove everything that these targets made, but not outputs/
	rm -rf .venv .venv-hydra14 dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# Hydra 1.4 before the dependencies of .venv, which pins Hydra 1.3: Python takes what it finds first.
.venv-hydra14/.installed: .venv/.installed requirements-hydra14.lock
	$(PYTHON) -m venv --clear --without-pip .venv-hydra14
	$(BIN)/uv pip install --quiet --python $(HYDRA14) --no-deps --prerelease allow -r requirements-hydra14.lock
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
		"$$($(HYDRA14) -c "import sysconfig; print(sysconfig.get_path('purelib'))")/dependencies.pth"
	$(BIN)/uv pip install --quiet --python $(HYDRA14) --no-deps --no-build-isolation -e .
	touch $@
