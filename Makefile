# Everything here works from a fresh clone with Python >= 3.11 (venv, pip), make and git. PYTHON= chooses another Python.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
# Three times the cores, as most tests wait for something.
WORKERS ?= $(shell echo $$((3 * $$(nproc))))
PYTEST_ARGS ?=
NIGHTS ?= 10000
SEED ?=
export PYTHON
unexport PYTHONDONTWRITEBYTECODE

run := $(VENV)/bin/python
install := tools/install.sh $(VENV) $(CONSTRAINTS)
pinned := pyproject.toml $(CONSTRAINTS) tools/install.sh

.DEFAULT_GOAL := help
.PHONY: help demo test nights ui bench docs check constraints clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.demo ## one prompt becomes images in ./demo-output/, under a real Airflow, against the emulator
	@$(run) -m tools.demo

test: $(VENV)/.test ## the everyday tests
	@$(run) -m pytest -q -n $(WORKERS) $(PYTEST_ARGS)

nights: $(VENV)/.test ## nights of the simulation; NIGHTS=1000000 for more of them, SEED=372 for the story of one
	@AIRFLOW_HOME=$(CURDIR)/.airflow/nights AIRFLOW__CORE__LOAD_EXAMPLES=False $(run) -m tests.simulation $(if $(SEED),--seed $(SEED),$(NIGHTS))

ui: $(VENV)/.demo ## Airflow's user interface with the example DAGs and the emulator, until Ctrl-C
	@$(run) -m tools.ui

bench: $(VENV)/.bench ## the benchmarks
	@$(run) -m pytest -q -s -m benchmark tests/benchmarks $(PYTEST_ARGS)

check: $(VENV)/.check ## lint, types, and the arrows between modules
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

docs: $(VENV)/.docs ## build the documentation into ./site/, warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

constraints: $(VENV)/.demo ## resolve the pinned versions again
	@$(run) -m tools.constraints

clean: ## remove what the targets above have made
	rm -rf $(VENV) .airflow demo-output dist site

$(VENV)/.demo: $(pinned)
	@$(install) emulator && touch $@

$(VENV)/.test: $(pinned)
	@$(install) emulator test && touch $@

$(VENV)/.check: $(pinned)
	@$(install) emulator test check && touch $@

$(VENV)/.docs: $(pinned)
	@$(install) emulator docs && touch $@

$(VENV)/.stores: $(pinned)
	@$(install) emulator,s3,gcs,azure test browser stores && touch $@

$(VENV)/.bench: $(VENV)/.stores
	@$(install) emulator,s3,gcs,azure test browser stores bench && touch $@
