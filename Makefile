# make demo   a simulated Reddit through every stage, then the dashboard: 3 minutes on 2 AVX2 cores (SERVE=0: no dashboard)
# make test   lint, types, import layers, documentation, tests; offline
# make docs   the documentation as a site in site/; broken links and anchors fail
# make screenshots  the README's pictures, of the demo's workspace (needs Chromium)
# make slow   tests that take minutes, among them the compiled reader under sanitizers
PYTHON ?= python3
SERVE ?= 1
PORT ?= 8501
WORKSPACE ?= workspace-demo
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo test lint types layers docs unit slow screenshots clean

demo: $(VENV)/.core
	$(BIN)/lurker --workspace $(WORKSPACE) demo
ifneq ($(SERVE),0)
	$(BIN)/lurker --workspace $(WORKSPACE) dashboard --port $(PORT)
endif

test: lint types layers docs unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

unit: $(VENV)/.dev
	$(BIN)/pytest -n auto --dist loadfile

slow: $(VENV)/.dev
	$(BIN)/pytest -m slow

screenshots: $(VENV)/.dev
	$(BIN)/python docs/screenshots.py $(WORKSPACE)

clean:
	rm -rf $(VENV) workspace-demo site

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"Lurker needs Python >= 3.11, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment: on Debian, apt-get install python3-venv"; exit 1; }

$(VENV)/.core: pyproject.toml constraints.txt hatch_build.py ingest/native/build.py $(wildcard ingest/native/*.[ch]) | $(VENV)/bin/python
	@echo "Installing (2 GB)..."
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt hatch_build.py ingest/native/build.py $(wildcard ingest/native/*.[ch]) | $(VENV)/bin/python
	@echo "Installing (2.7 GB)..."
	$(PIP) -e '.[dev,docs]'
	@touch $(VENV)/.core $@
