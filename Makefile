# Foldline's commands. `make` lists them; README's two are `make demo` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
STAMP := $(VENV)/.installed
LOCAL := $(BIN)/python -m foldline_local
TIERS := $(BIN)/python tests/tiers.py
# tier[,tier]: a tier that cannot run here is then a failure instead of a note.
EXPECT ?=

.PHONY: help setup venv up down status logs demo test test-unit test-integration test-e2e \
        test-cluster check fmt bench chaos

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python >= 3.11 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); set PYTHON=" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) \
	  || { echo "cannot create $(VENV): install Python's venv module (Debian: python3-venv)" >&2; rm -rf $(VENV); exit 1; }
	@echo "installing the locked dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

venv: $(STAMP)

setup: venv ## install everything that the rest needs, into .venv and the user's cache
	@$(LOCAL) setup

up: setup ## start the whole pipeline on this machine
	@$(LOCAL) up

down: venv ## stop it; data stays, unless WIPE=1
	@$(LOCAL) down $(if $(WIPE),--wipe)

status: venv ## show each process
	@$(LOCAL) status

logs: venv ## print the ends of the logs; NAME=command for one of them, FOLLOW=1 to keep printing
	@$(LOCAL) logs $(NAME) $(if $(FOLLOW),-f)

demo: up ## setup + up + orders through the API, answered by every read model
	@$(LOCAL) demo

test: setup ## all tests that this machine can run; EXPECT=tier,tier makes a skipped tier a failure
	@$(TIERS) --expect "$(EXPECT)" unit integration e2e cluster

test-unit: venv ## tests that need no service
	@$(TIERS) unit

test-integration: setup ## each room against the real services, on ports and data of their own
	@$(TIERS) integration

test-e2e: setup ## the whole pipeline through HTTP, on ports and data of its own
	@$(TIERS) e2e

test-cluster: venv ## the cluster tier (comes with the operator)
	@$(TIERS) --expect "$(EXPECT)" cluster

check: venv ## format, lint, types, import contracts, unit tests; needs no service
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(TIERS) unit

fmt: venv ## format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

chaos: setup ## the fault-injection suite; QUICK=1 takes one fault of each kind
	@$(BIN)/python -m pytest -m e2e tests/e2e/test_faults.py -v $(if $(QUICK),-k "order-details or connect or postgresql")

bench: setup ## every benchmark; writes benchmarks/results/*.json and prints a table
	@$(BIN)/python benchmarks/run.py
