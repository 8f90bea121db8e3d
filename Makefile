# Each target does its own set-up: `make demo` and `make test` work as the first and only command on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The folder of real data beside the project, where there is one; PLACEVEC_DATA='' means: none.
PLACEVEC_DATA ?= $(abspath $(wildcard ../shared/data))
export PLACEVEC_DATA
# What is imported is compiled once and kept, also where the machine says not to: the tests start many processes.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest

.PHONY: setup demo test fuzz check stories bench docs clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    'pip>=25.1' 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --group dev --group docs --group bench --editable '.[all]'
	touch $@

demo: $(READY)
	$(BIN)/placevec demo

test: $(READY)
	$(PYTEST) -n 2 --dist worksteal

# The properties with new random examples, ten times as many.
fuzz: $(READY)
	PLACEVEC_HYPOTHESIS=fuzz $(PYTEST) -n 2 --dist worksteal -m hypothesis

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

stories: $(READY)
	PLACEVEC_STORIES=full $(PYTEST) tests/e2e -n 0

bench: $(READY)
	for script in benchmarks/[!_]*.py; do case $$script in */common.py|*/retrieval_*.py) ;; *) $(BIN)/python $$script || true;; esac; done

docs: $(READY)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) demo build dist site .mypy_cache .pytest_cache .ruff_cache
