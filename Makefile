# make help lists the targets. VENV=path uses another virtual environment, WORKERS=n more processes.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2

BIN := $(VENV)/bin
# Without --no-compile pip compiles every module; Python compiles the few that are used, on their first import.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
PROJECT := pyproject.toml constraints.txt

unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help book test reproduce timings bench gpu clean distclean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

book: $(VENV)/.book ## build the site into _build/html
	$(BIN)/jupyter-book build . --all -W -n --keep-going -q
	@echo "The book is built. Open it in a browser:"
	@echo "  file://$(CURDIR)/_build/html/index.html"

test: $(VENV)/.test ## verify everything: unit, property, parity and book tests, and every notebook
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope \
	  --nbval-lax --nbval-current-env --nbval-cell-timeout=300 tests notebooks $(PYTEST_ARGS)

reproduce: $(VENV)/.book ## execute all chapters again from real data, record what they measure, build
	$(BIN)/python book/tools/run_notebooks.py --record
	$(MAKE) book

timings: $(VENV)/.book ## execute all chapters and write results/chapters.json
	$(BIN)/python book/tools/run_notebooks.py --timings

bench: $(VENV)/.book ## measure the speed of the core, one table
	$(BIN)/python benchmarks/run.py

gpu: $(VENV)/.test ## where CuPy finds a GPU (extra cuda12 or cuda13): its parity tests, then the benchmark
	$(BIN)/python -m pytest -m gpu -ra tests
	$(BIN)/python benchmarks/run.py

clean: ## remove what was built; the virtual environment stays
	rm -rf _build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find bionet book tests benchmarks notebooks -name __pycache__ -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environment too
	rm -rf .venv *.egg-info

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; this is $$($(PYTHON) -V). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.book: $(VENV)/.python $(PROJECT)
	@echo "Installing the book's environment into $(VENV) ..."
	$(PIP) -e ".[book]"
	@touch $@

$(VENV)/.test: $(VENV)/.book
	@echo "Installing what the tests need ..."
	$(PIP) -e ".[book,test]"
	@touch $@
