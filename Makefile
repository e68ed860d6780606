# Needs Python and make only: every target sets up .venv first, when it is missing or out of date.
#   make PYTHON=python3.12 run     another interpreter (only where .venv is not made yet)
#   make JOBS=1 test               one test process

PYTHON ?= python3
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run test test-slow lint format install clean
.DELETE_ON_ERROR:

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) ## impute breast cancer data with every method; writes out/breast/report.html
	$(BIN)/notmiwae reproduce breast --preset quick --output out/breast

test: $(INSTALLED) ## run the tests
	$(BIN)/python -m pytest -n $(JOBS)

test-slow: $(INSTALLED) ## run the slow tests
	$(BIN)/python -m pytest -n $(JOBS) -m slow

lint: $(INSTALLED) ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## repair style and formatting where that can be done by machine
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(INSTALLED) ## set up .venv only

clean: ## remove caches, builds and what `make run` wrote; .venv stays
	rm -rf out/breast build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[all,dev]" -c constraints.txt
	@touch $@

# Debian and Ubuntu ship Python without what a virtual environment needs: say so, rather than
# leave half of one behind.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) was not found: install Python 3.10 or newer," \
	       "or name one: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), and notmiwae needs Python 3.10 or newer;" \
	       "name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv module" \
	       "(on Debian and Ubuntu: sudo apt install python3-venv)," \
	       "or name another Python: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
