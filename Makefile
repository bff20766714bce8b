# Everything here works on a fresh Debian machine with Python 3.11 or newer, make and git.
PYTHON ?= python3
JOBS ?= $(shell env -u OMP_NUM_THREADS nproc)
BIN := .venv/bin

# Trials and tests share the cores; one thread each is faster than all of them for each.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup packages demo test slurm-up slurm-down lint format lock bench bench-search build clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /make \1\t/' | expand -t 20

setup: .venv/.installed  ## make .venv with everything the lock pins

demo: setup  ## run a real sweep to its end: 24 trials on scikit-learn's digits
	$(BIN)/python train.py -m hydra/sweeper=wandbsweep

packages: setup  ## Debian's packages that tests need (SLURM, MariaDB, PostgreSQL), as root; else those tests are skipped
	@$(BIN)/python -m scripts.debian

test: setup packages  ## run all tests
	WANDB_MODE=offline $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

slurm-up:  ## bring up a SLURM cluster with fake GPUs on this machine; another place: SLURM_DIR=...
	@$(PYTHON) -m scripts.slurm up $(SLURM_DIR)

slurm-down:  ## end it
	@$(PYTHON) -m scripts.slurm down $(SLURM_DIR)

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## what lint would have you change
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup  ## pin what pyproject.toml allows, anew
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --upgrade --quiet \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file requirements.lock

bench: setup  ## measure what the README claims
	$(BIN)/python benchmarks/overhead.py

bench-search: setup  ## measure the search on real learning curves
	$(BIN)/python benchmarks/search/run.py $(ARGS)

build: setup  ## build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

clean:  ## remove what was made here, but not outputs/
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
