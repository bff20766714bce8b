# Every target works on a fresh Debian machine with Python 3.11 or newer, make and git.
PYTHON ?= python3
JOBS ?= $(shell env -u OMP_NUM_THREADS nproc)
BIN := .venv/bin

# Trials and tests share the cores: one thread for each is faster than all cores for each.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup packages demo test parity test-slow slurm-up slurm-down lint format lock bench bench-search bench-training build clean

help:  ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /make \1\t/' | expand -t 20

setup: .venv/.installed  ## make .venv with everything that requirements.lock pins

demo: setup  ## run a real sweep: 24 trials on scikit-learn's digits
	$(BIN)/python train.py -m hydra/sweeper=wandbsweep

packages: setup  ## as root: install Debian's packages that tests need (SLURM, MariaDB, PostgreSQL)
	@$(BIN)/python -m scripts.debian

test: setup packages  ## run all tests
	WANDB_MODE=offline $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-slow: setup packages  ## run the tests that take long and rarely break
	WANDB_MODE=offline $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow $(ARGS)

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
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

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
