# Two commands on a machine with Python 3.11+ and make: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One more than there are cores, as the end-to-end tests wait at times: each further one collects, imports and warms up for itself.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(1 + (os.cpu_count() or 1))')

# What one process has compiled is there for all others: a run of the tests starts some thirty.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check format docs pictures benchmarks chaos clean

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %d.%d: make PYTHON=python3.12 …" % sys.version_info[:2]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) …"
	@# Compiled is what is imported, as it is imported: the whole of every package takes another minute.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@$(BIN)/connector check --help > /dev/null
	@touch $@

demo: $(READY)  ## the whole product on two imitated CRMs, in two minutes
	@$(BIN)/connector demo

test: $(READY)  ## all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(READY)  ## format, lint, types, layers, then all tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(READY)  ## the example of a configuration and the tables of options, from the models
	@$(BIN)/python -m connector.cli.example

pictures: $(READY)  ## the pictures of the README, from a real run
	@$(BIN)/python docs/pictures/record.py

benchmarks: $(READY)  ## ratios against a baseline in the same run
	@for each in benchmarks/[a-z]*.py; do echo "== $$each"; $(BIN)/python $$each || exit 1; done

# make chaos SEED=3 CYCLES=50 plays another one
SEED ?= 7
CYCLES ?= 300
chaos: $(READY)  ## everything that can go wrong with two CRMs does, 300 times; then all must be right
	@$(BIN)/python -m tests.chaos --seed $(SEED) --cycles $(CYCLES)

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
