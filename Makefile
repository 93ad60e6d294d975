PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: compare test lint types pytest test-slow test-all nightly docs links build clean

compare: $(VENV)/.installed  ## The study on what the package brings along: every parameterization, handwritten digits.
	$(BIN)/jaxvae compare

test: lint types pytest  ## What each change must pass, in minutes.

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-test
	$(BIN)/mypy

PYTEST = $(BIN)/python -m pytest -n auto --dist worksteal

pytest: $(VENV)/.installed-test
	$(PYTEST) -m "not slow" jaxvae tests

test-slow: $(VENV)/.installed-test  ## The rest: every name everywhere, notebooks, benchmarks, kills; SLOW chooses files.
	$(PYTEST) -m slow $(or $(SLOW),tests)

test-all: $(VENV)/.installed-versions  ## All tests under every supported Python and JAX; SKIP_MISSING=1 goes without Pythons not on PATH.
	$(BIN)/tox $(if $(SKIP_MISSING),--skip-missing-interpreters true)

nightly: $(VENV)/.installed-test  ## What takes hours: numbers under stress, a million steps, kills, damage, bad input.
	$(BIN)/python -m benchmarks.stress
	$(BIN)/python -m benchmarks.pairs
	$(BIN)/python -m benchmarks.endurance
	$(BIN)/python -m benchmarks.kills train --kills 150 --epochs 60
	$(BIN)/python -m benchmarks.kills compare --kills 50 --epochs 3
	$(BIN)/python -m benchmarks.kill_points
	$(BIN)/python -m benchmarks.failing_disks --every 10
	$(BIN)/python -m benchmarks.corruptions
	$(BIN)/python -m benchmarks.fuzz

docs: $(VENV)/.installed-docs  ## Rewrites the generated pages, checks spelling and links, and builds the site in site/.
	$(BIN)/python -m benchmarks.ranges
	$(BIN)/python -m benchmarks.flags
	$(BIN)/python -m benchmarks.survey
	$(BIN)/codespell
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

links: docs  ## Lists the links of the site that lead nowhere, and the other sites' pages that can't be reached.
	$(BIN)/linkchecker --no-status --check-extern site/index.html

build: $(VENV)/.installed-test  ## sdist and wheel; each is installed by itself, and tried.
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	for package in dist/*; do \
		rm -rf build/smoke && $(PYTHON) -m venv build/smoke && \
		build/smoke/bin/pip install --quiet "$$package[train]" && \
		build/smoke/bin/jaxvae train --epochs 2 --out build/smoke/run && \
		build/smoke/bin/jaxvae diagnose build/smoke/run || exit 1; \
	done

$(VENV)/.installed: setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[train]"
	touch $@

$(VENV)/.installed-test: setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[test]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-versions: setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[versions]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .venv-all .cache build dist site *.egg-info runs explained
