# Two commands on a fresh machine: `make reproduce` and `make test`. Every target sets up .venv by itself.
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= 2
BIN := .venv/bin
# numba and torch share one OpenMP: threads that spin while they wait take the cores from those that work.
export OMP_WAIT_POLICY := passive
export PYTHONHASHSEED := 0

# What `make reproduce` runs, in one graph: every experiment but those that want a capture, make goldens or only train.
SUITE := $(filter-out experiments/capture.yaml experiments/goldens.yaml experiments/train_%,$(sort $(wildcard experiments/*.yaml)))

.PHONY: help env reproduce test prove lab report lint clean system system-slurm capture goldens
help:
	@echo "make reproduce   embedded scenes -> training -> evaluation -> report, without a GPU"
	@echo "make test        all tests        make prove   their long forms (about an hour)"
	@echo "make lab         JupyterLab on the first notebook"
	@echo "make capture SOURCE=folder   a Nerfstudio capture through import, evaluation and report"
	@echo "make system      Debian packages that some tests want      make clean   forget runs and caches"
	@echo "make system-slurm   Debian's Slurm, for the long tests of the cluster"

env: .venv/installed
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "$(PYTHON) is no Python 3.11 to 3.13 with venv: install python3-venv, or name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@echo "Installing the exact versions of constraints.txt into .venv (about 6 GB, some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[suite,test]'
	@touch $@

reproduce: env
	@$(BIN)/pmgs run $(SUITE) --profile smoke --cores $(CORES)

capture: env
	@test -n "$(SOURCE)" || { echo "Name the capture: make capture SOURCE=folder-with-transforms.json" >&2; exit 2; }
	@$(BIN)/pmgs run experiments/capture.yaml --profile smoke --cores $(CORES) --set source="$(SOURCE)"

report: env
	@$(BIN)/pmgs report experiments/smoke.yaml

lab: env
	@$(BIN)/jupyter lab notebooks/00_start_here.ipynb

lint: env
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

# One process a core, one thread each: threads of several processes would wait for each other.
test: env lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not prove" -n $(CORES) --dist loadfile -rfEs --durations=15
	@$(BIN)/python -m pytest -p no:cacheprovider --nbval-lax --nbval-current-env --nbval-cell-timeout=300 tests/goldens

prove: env
	@$(BIN)/python -m pytest -m prove --durations=20

system:
	apt-get update -qq
	apt-get install -qq --no-install-recommends chromium

# Slurm's daemons for the tests that start a small cluster in one folder; they need no root then.
system-slurm:
	apt-get update -qq
	apt-get install -qq --no-install-recommends munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins

goldens: env
	@$(BIN)/pmgs run experiments/goldens.yaml --profile smoke --cores $(CORES)
	@$(BIN)/python -m pmgs_lib.suite.goldens experiments/goldens.yaml tests/goldens

clean:
	rm -rf runs .cache .snakemake
