# `make demo` and `make test` need nothing but Python 3.11 or newer: they make .venv and install into it.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench faults collector install docs lint fmt clean

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
TESTS := $(if $(CI),,-m "not slow")
COLLECTOR := build/collector/headgate-collector
COLLECTOR_BUILDER := go.opentelemetry.io/collector/cmd/builder@v0.158.0

help:  ## List what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/run.stamp  ## See what real agents did: their sessions, calls, costs and timelines
	@$(BIN)/python -m headgate_console.demo --data demo-data

test: .venv/dev.stamp  ## Run the tests (with CI=true the slow ones too)
	$(BIN)/python -m pytest -q -n auto $(TESTS) $(ARGS)

check: lint  ## Lint, types, import rules, spelling
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs processors analytics control gateways console collector-config

bench: .venv/dev.stamp  ## Measure, next to a baseline of the same run, and write docs/reference/performance.md
	$(BIN)/python tests/bench $(ARGS)

faults: .venv/dev.stamp $(COLLECTOR)  ## Kill, mutate and count, whole; writes docs/reference/reliability.md (hours)
	$(BIN)/python tests/faults/report.py --out docs/reference/reliability.md $(ARGS)

collector: $(COLLECTOR)  ## Build our OpenTelemetry Collector (needs Go; five minutes, later seconds)
	@echo "$(COLLECTOR) is built. Next: headgate collector run, and beside it: headgate up --behind-collector"

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

# Go's caches stay under build/, so that one folder is all there is to keep or to remove.
$(COLLECTOR): collector-config/builder.yaml
	@command -v go >/dev/null || { echo "make collector needs Go 1.25 or newer, and no go is on the PATH: install it from https://go.dev/dl and say make collector again, or let Docker bring a Collector: docker compose up" >&2; exit 1; }
	@echo "Building the Collector into build/collector (about five minutes, and 2.5 GB under build/go; seconds when they are there) ..." >&2
	@mkdir -p build/collector
	@GOMODCACHE=$(CURDIR)/build/go/mod GOCACHE=$(CURDIR)/build/go/cache GOFLAGS="-modcacherw -buildvcs=false" CGO_ENABLED=0 \
		go run $(COLLECTOR_BUILDER) --config $< && touch $@

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Headgate needs Python 3.11 or newer, and no python3 here is. Install one, or: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

.venv/run.stamp: pyproject.toml | .venv/bin/python
	@echo "Installing Headgate into .venv (once; about a minute) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . && touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	@echo "Installing Headgate and its test tools into .venv (once; about a minute) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" && touch $@ .venv/run.stamp
