# `make demo` and `make test` need nothing but Python 3.11 or newer: they make .venv and install into it.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench install docs lint fmt clean

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
TESTS := $(if $(CI),,-m "not slow")

help:  ## List what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/run.stamp  ## See what real agents did: their sessions, calls, costs and timelines
	@$(BIN)/python -m headgate_console.demo --data demo-data

test: .venv/dev.stamp  ## Run the tests (with CI=true the slow ones too)
	$(BIN)/python -m pytest -q -n auto $(TESTS) $(ARGS)

check: lint  ## Lint, types, import rules, spelling
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs processors analytics console collector-config

bench: .venv/dev.stamp  ## Measure, next to a baseline of the same run
	$(BIN)/python tests/bench/ingest.py $(ARGS)

install: .venv/dev.stamp  ## Make .venv with everything a developer needs

docs: .venv/dev.stamp  ## Write the generated pages of docs/reference anew
	$(BIN)/python -m headgate_console.reference docs/reference

lint: .venv/dev.stamp  ## Lint and check the formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

fmt: .venv/dev.stamp  ## Mend formatting and what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## Remove what was built, installed, cached and demonstrated
	rm -rf .venv build dist demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Headgate needs Python 3.11 or newer, and no python3 here is. Install one, or: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

.venv/run.stamp: pyproject.toml | .venv/bin/python
	@echo "Installing Headgate into .venv (once; about a minute) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . && touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	@echo "Installing Headgate and its test tools into .venv (once; about a minute) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" && touch $@ .venv/run.stamp
