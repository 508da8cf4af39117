# `make help` lists what there is. Everything runs in one virtual environment, .venv, made on first use.
SHELL := /bin/bash
PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# A waiting OpenMP thread must not spin: beside any other load on few cores, training would take several times as long.
export OMP_WAIT_POLICY ?= PASSIVE

SOURCE ?=
RAW ?=
AS_OF ?=
ENGINE ?= sail
SET ?=
PORT ?= 8080
SOAK ?= tests
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup night test soak check format airflow requirements clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  Variables of `make night`: SOURCE=FILE.sql RAW=FOLDER AS_OF=DATE ENGINE=sail|spark SET="STEP.FIELD=VALUE .."'

setup: $(STAMP) ## Make the environment (also done by every target that needs it)

$(STAMP): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "error: $(PYTHON) is not Python 3.11; install it, or pass PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(VENV) (some minutes on the first run) .."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@# Compiled once here: where PYTHONDONTWRITEBYTECODE is set, every process would compile torch anew.
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.txt
	@touch $@

night: $(STAMP) ## Run a whole night: the sample shop's, or your own with SOURCE, RAW and AS_OF
	@$(BIN)/python -m jobs night --engine $(ENGINE) \
	  $(if $(SOURCE),--source "$(SOURCE)") $(if $(RAW),--raw "$(RAW)") $(if $(AS_OF),--as-of "$(AS_OF)") \
	  $(foreach change,$(SET),--set "$(change)")

test: $(STAMP) ## Run the tests
	@$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder

soak: $(STAMP) ## Run the tests that take minutes: kills, faults, fuzzing, long backfills, a real scheduler (SOAK=FOLDER: some)
	@$(BIN)/python -m pytest -m soak $(SOAK)

check: $(STAMP) ## Lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

airflow: $(STAMP) ## A local Airflow with its UI on http://127.0.0.1:PORT, the DAG scheduled nightly
	@$(BIN)/python -m jobs airflow --port $(PORT) --engine $(ENGINE) \
	  $(if $(SOURCE),--source "$(SOURCE)") $(if $(RAW),--raw "$(RAW)") $(foreach change,$(SET),--set "$(change)")

requirements: $(STAMP) ## Pin requirements.txt anew from requirements.in and overrides.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-emit-index-url \
	  --overrides overrides.txt requirements.in -o requirements.txt

clean: ## Remove what was computed (var/), not the environment
	@rm -rf var
