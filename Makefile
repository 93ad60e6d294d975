PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: compare test lint types pytest docs build clean

compare: $(VENV)/.installed  ## The study on what the package brings along: every parameterization, handwritten digits.
	$(BIN)/jaxvae compare

test: lint types pytest  ## All that must pass.

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-test
	$(BIN)/mypy

pytest: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto jaxvae tests

docs: $(VENV)/.installed-test  ## Rewrites the generated pages.
	$(BIN)/python -m benchmarks.ranges

build: $(VENV)/.installed-test  ## sdist and wheel.
	$(BIN)/python -m build

$(VENV)/.installed: setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info runs explained
