# make install | demo | test | lint | clean : everything lives in .venv and needs Python 3.11 or newer, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

# Byte code is written when a module is first imported, and kept: compiling all of Ray and torch at installation takes
# longer, and without any every process would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test lint clean

install: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed

# Two pictures that come with scikit-image, degraded and restored blind.
demo: install
	$(BIN)/python examples/demo_images.py $(DEMO)/images
	$(BIN)/python -m orchestrator submit --images $(DEMO)/images --simulate --store $(DEMO)/store

test: $(VENV)/.installed-dev lint
	tests/browser.sh
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
