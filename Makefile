# Needs python3 >= 3.11 with venv and pip, and make. Everything else is set up in .venv, pinned by
# requirements.lock. `make PYTHON=python3.12 ...` takes another interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup test lint types imports unit sim lab demo lab-demo bench lock clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: $(READY) ## Make .venv with the pinned packages and this project in it

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "sedma needs Python 3.11 or newer; $(PYTHON) is" \
			"$$($(PYTHON) --version 2>&1 || echo missing)." \
			"Write: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation -e .
	@touch $@

test: lint types imports unit ## Everything that must hold: lint, types, import rules, tests

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy --strict
	$(BIN)/mypy

imports: $(READY) ## import-linter: who may import whom
	$(BIN)/lint-imports

# What measures how soon something is done, or says that nobody was late: nothing else may keep the cores from it. Of
# these, two that wait most of the time do not disturb each other.
PAIRED := tests/lab/test_punched_packets.py tests/live/test_mesh_faults.py tests/lab/test_daemons.py \
	tests/lab/test_matrix.py tests/live/test_mesh.py tests/lab/test_wire.py
ALONE := tests/live/test_sixteen.py tests/lab/test_punching.py

# Files begin in the order in which they are named, or which tests/conftest.py gives them: by default those with the
# most tests would come first, and those that take longest last. A product has one thread: where several workers share
# a core, the others would spend it on waiting for each other.
SIDE_BY_SIDE := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

# Without bytecode each daemon that a test starts would compile what it imports, and each worker all tests.
unexport PYTHONDONTWRITEBYTECODE

unit: $(READY) ## pytest: most files side by side, then those that want the machine to themselves
	$(SIDE_BY_SIDE) -n 4 $(addprefix --ignore ,$(PAIRED) $(ALONE))
	$(SIDE_BY_SIDE) -n 2 $(PAIRED)
	$(BIN)/python -m pytest $(ALONE)

sim: $(READY) ## Some hundred short runs on virtual time; make sim SEED=17 is one of them
	$(if $(SEED),SEED=$(SEED)) $(BIN)/python -m pytest -q tests/node/simulation/test_seeds.py

lab: $(READY) ## Who meets whom through which routers, how soon, how fast (Linux, root); make lab ARGS="--runs 3"
	$(BIN)/python -m tests.lab.matrix $(ARGS)

demo: $(READY) ## A photograph through four daemons; writes demo/report.html
	$(BIN)/sedma-node demo

lab-demo: $(READY) ## The same with each daemon behind a router of another kind (Linux, root)
	$(BIN)/python -m tests.lab.demo

bench: $(READY) ## The figures of the README, as JSON lines
	@for script in $$(grep -l '^if __name__ ==' bench/*.py); do \
		echo "== $$script" >&2; $(BIN)/python $$script || exit 1; done

lock: $(READY) ## Pin the newest packages that fit (needs a package index)
	$(PYTHON) -m venv --clear $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet pip-tools
	$(VENV)/lock/bin/pip-compile --quiet --upgrade --all-extras --generate-hashes --strip-extras \
		--allow-unsafe --no-header --no-emit-index-url --no-emit-find-links \
		--output-file requirements.lock pyproject.toml

clean: ## Remove what was made here
	rm -rf $(VENV) demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
