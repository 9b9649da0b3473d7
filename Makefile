SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Packages are installed uncompiled (below): without bytecode caches every process would compile them.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: demo test chaos check bench reference up down clean help

BIN := .venv/bin
# Compiling all files of all packages takes longer than compiling the few that are imported.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile -qq -c constraints.txt
CODE := flows workers aigc_models infra tests docs

demo: .venv/.stamp ## run the whole system once: stack, sample inputs, training, a night, its results
	@$(BIN)/nightshift demo

test: .venv/.stamp ## run all tests, in two processes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

chaos: .venv/.stamp ## kill processes a hundred times and compare results; options: CHAOS="--kills 20 --seed 7"
	@$(BIN)/python -m tests.support.chaos $(CHAOS)

check: .venv/.stamp ## check lint, format, types and layers
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_layers.py

bench: .venv/.stamp ## run the benchmarks; other texts: BENCH="--train A.parquet --test B.parquet"
	@$(BIN)/python tests/bench/plan_scale.py
	@$(BIN)/python tests/bench/text_quality_table.py $(BENCH)
	@$(BIN)/python tests/bench/image_quality_table.py
	@$(BIN)/python -m tests.bench.pool_scale
	@$(BIN)/python -m tests.bench.decoding_speed
	@$(BIN)/python -m tests.bench.training_speed
	@$(BIN)/python -m tests.bench.partition_speed
	@$(BIN)/python -m tests.bench.image_throughput
	@$(BIN)/python tests/bench/recommender_table.py

reference: .venv/.stamp ## write the generated pages of docs/reference again
	@$(BIN)/python docs/generate.py

up: .venv/.stamp ## start the local stack
	@$(BIN)/nightshift up

down: ## stop the local stack; keep its data
	@if [ -x $(BIN)/nightshift ]; then $(BIN)/nightshift down; else echo "nothing is running"; fi

clean: ## stop the stack, remove the environment and caches; keep .nightshift
	@-$(MAKE) --no-print-directory down
	@rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## print this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

# A name on the PATH may be a shim without a Python, so each one is run.
.venv/.stamp: pyproject.toml constraints.txt
	@python=; \
	for name in python3 python3.13 python3.12 python3.11; do \
	  if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	    >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Nightshift needs Python 3.11 or later with venv; none was found on the PATH" >&2; exit 1; \
	fi; \
	echo "making .venv with $$($$python --version)"; \
	if [ ! -x $(BIN)/python ]; then $$python -m venv --clear .venv; fi
	@echo "installing torch (1 of 2)"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@echo "installing everything else (2 of 2)"
	@$(PIP) -e '.[local,dev]'
	@touch $@
