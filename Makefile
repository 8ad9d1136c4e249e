# `make run` and `make test` do all the set-up they need; a second call starts in seconds.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `?=` so that several checkouts can share one home.
export ASSAY_HOME ?= $(CURDIR)/.assay
export PIP_DISABLE_PIP_VERSION_CHECK := 1
LOCKS := data/environments
PYTEST := $(BIN)/python -m pytest

.PHONY: help setup run test lint browser bench bench-loop soak lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(VENV)/.ready ## install Assay and what it needs into .venv

$(VENV)/.ready: $(LOCKS)/assay.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --no-deps -r $(LOCKS)/assay.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -c "import duckdb, polars, prefect, datasets, torch, trl, flows.cli"
	touch $@

run: setup ## seed prompts to an examined reward model: the quickstart recipe
	$(BIN)/assay --version
	$(BIN)/assay run quickstart --lake lake --out out

lint: setup ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

browser: ## Debian's Chromium, for the tests of the annotators' pages
	@command -v chromium >/dev/null || { apt-get -qq update && \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium; } \
	>/dev/null 2>&1 || echo "no Chromium, and apt-get cannot install it here: the tests of the" \
	"annotators' pages are skipped (as root on Debian: apt-get install chromium)"

test: lint browser ## everything but the soak
	$(PYTEST) -n 3 --dist loadgroup -m "not soak"

bench: setup ## measured ratios, side by side in one run
	$(BIN)/python -m benchmarks.orchestration --vllm
	$(BIN)/python -m benchmarks.near_duplicates
	$(BIN)/python -m benchmarks.bulk_texts
	$(BIN)/python -m benchmarks.semantic

bench-loop: setup ## does the gold loop pay? real pools, planted noise, twenty seeds (an hour or more)
	$(BIN)/python -m benchmarks.loop

soak: setup ## long tests: twenty kills, three people replayed
	$(PYTEST) -n 2 -m soak

lock: ## write a lock file from an environment: make lock NAME=vllm FROM=path/to/python
	frozen=$$($(FROM) -m pip freeze --exclude-editable) && \
	{ grep '^#' $(LOCKS)/$(NAME).lock; echo "$$frozen" | sed 's/+cpu//'; } > $(LOCKS)/$(NAME).lock.new
	mv $(LOCKS)/$(NAME).lock.new $(LOCKS)/$(NAME).lock

clean: ## remove what `make run` made (not the environments)
	rm -rf lake out dist build
