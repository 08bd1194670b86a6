# make install | demo | test | test-system | gpu | lint | clean : everything lives in .venv and needs Python 3.11 or newer, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

# Byte code is written when a module is first imported, and kept: compiling all of Ray and torch at installation takes
# longer, and without any every process would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test pytest test-system gpu lint clean

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

# Side by side: mypy has one core and its cache is cold in CI.
test: $(VENV)/.installed-dev
	tests/browser.sh
	$(MAKE) --no-print-directory --jobs 2 lint pytest
	@echo "LEFT OUT: runs handed over to clusters, a store that goes away, and ray up on hosts made of namespaces. They need root and a quarter of an hour: make test-system" >&2

pytest: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# A run handed over to a cluster as a job, or whose store goes away; ray up, a run, a host that is lost, ray down; AWS is simulated. Needs root, and Debian's
# openssh-server, rsync and iproute2.
test-system: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/cluster_system tests/system/test_store_trouble.py -s

# On a machine with a GPU, within eight minutes: what only a GPU can show, then its tables (docs/gpu.md). It needs torch,
# numpy, scipy, scikit-image and pytest; no Ray: make gpu BIN=/usr/bin takes those of the machine.
GPU := gpu
gpu:
	$(BIN)/python -m pytest -o addopts= --noconftest -p no:cacheprovider -W default -m gpu tests/workers/test_recording.py tests/workers/test_deterministic.py
	$(BIN)/python -m benchmarks.gpu --out $(GPU) --minutes 6

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
