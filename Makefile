# durasql. `make help` lists the targets.
#
# The virtual environment .venv is made on first use and updated when pyproject.toml changes; after that nothing
# here needs a network. PYTHON chooses the interpreter that it is made with.

VENV := .venv
BIN := $(VENV)/bin
SOURCES := src runtime grammar tests conformance bench examples docs editors
TESTFLAGS ?= -n auto
BENCHFLAGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-matrix check conformance crash chaos bench scale golden pages docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 22

run: $(VENV)/.run ## run the examples on an embedded PostgreSQL and show what happens
	@$(BIN)/python examples/run_all.py

test: check $(VENV)/.test ## everything: check, all tests on real servers, the schema's on the oldest PostgreSQL too
	$(BIN)/python -m pytest $(TESTFLAGS) --ignore=tests/unit
	$(BIN)/python tests/matrix/run.py oldest -- $(TESTFLAGS) --ignore=tests/integration/runtime

test-matrix: $(VENV)/.test ## what SQL shows on PostgreSQL 14 to 18, as far as they can be had here
	$(BIN)/python tests/matrix/run.py -- $(TESTFLAGS)

check: $(VENV)/.test ## without a database, in seconds: style, types, import directions, unit tests
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/unit -q

conformance: $(VENV)/.test ## the language: every case on real servers, beside its golden files
	$(BIN)/python -m pytest conformance $(TESTFLAGS)

crash: $(VENV)/.test ## kill workers at every database call and look for lost or doubled work
	DURASQL_CRASH=full $(BIN)/python -m pytest -m crash $(TESTFLAGS)

MINUTES ?= 2
chaos: $(VENV)/.test ## kill and freeze workers and stop the server at random for MINUTES, thousands of workflows
	$(BIN)/python tests/crash/chaos.py --minutes $(MINUTES)

bench: $(VENV)/.bench ## measure, beside the server's own limit and beside DBOS and Absurd
	$(BIN)/python -m bench $(BENCHFLAGS)

scale: $(VENV)/.test ## measure what 100,000 instances cost: memory, wake-ups, backlogs, loops, table sizes
	$(BIN)/python -m bench.scale $(BENCHFLAGS)

golden: $(VENV)/.test ## accept the output of the conformance cases as the new golden files
	$(BIN)/python -m pytest conformance --snapshot-update

pages: $(VENV)/.test ## write the generated pages and pictures anew, and into all pages what their commands print
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/pictures.py
	DURASQL_DOCS_WRITE=1 $(BIN)/python -m pytest tests/docs -q

docs: $(VENV)/.docs ## build the site of docs/ into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

$(VENV)/bin/python:
	@echo "making $(VENV)"
	@sh tools/make-venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	@echo "installing durasql into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo "installing durasql and what its tests need into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	@echo "installing what builds the site into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/bin/python
	@echo "installing durasql and its peers into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[bench]'
	@touch $@
