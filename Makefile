# Two commands do all the set-up on a fresh Debian 12, the first one also on another Debian or Ubuntu with Python 3.11 or newer:
#
#   make demo    solve ten freshly made problems with the bundled model (SEED=… repeats a run)
#   make test    install what tests need, then lint, types, stubs and all tests
#   make test-sglang   native parallel reasoning inside the unmodified SGLang, on the CPU
#   make ui      make the pages anew from solver/espalier/solver/viewer/web
#   make ui-test   type-check and test the pages, also in Chromium
#   make deploy-check   check deploy/ and send a job through all services
#   make docs    build the documentation (site/), strictly, and check its links
#   make train-tiny   base, zero, beta and papo on two CPU cores; exit 1 unless papo is above beta by the margin
#   make test-chaos   kill workers and Redis at full size (CHAOS_SEED=… repeats a run)
#   make test-nightly   make test, with twenty times as many examples of each property, and loads and chaos at full size

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled modules are kept, whatever the machine says: hundreds of programs are started.
export PYTHONDONTWRITEBYTECODE :=

# What of `test-needs` runs before tests; only `make test` installs it.
NEEDS :=

.PHONY: help demo train-tiny test test-needs evals-environment sglang-environment test-sglang ui ui-test ui-check ui-browser \
  test-chaos test-nightly deploy-check docs lint types protos tests format clean

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/train.stamp
	$(BIN)/espalier demo $(if $(SEED),--seed $(SEED))

# Each part starts as soon as what it needs is there: tests and installing wait for other processes and the network much of
# the time. A browser does not wait for a busy machine, so the pages come last. CI: nothing that is missing may be skipped.
test: .venv/bin/pip
	CI=true $(MAKE) --no-print-directory --jobs=3 NEEDS=test-needs SGLANG_PROCESSES=1 \
	  .venv/dev.stamp test-needs evals-environment sglang-environment tests test-sglang types lint protos docs ui-check
	CI=true $(MAKE) --no-print-directory ui-browser

test-needs:
	scripts/test-needs.sh
	scripts/ui-needs.sh

# Evaluation tools pin clients that other tests cannot use, so they have an environment of their own.
evals-environment: .venv/bin/pip
	scripts/evals.sh

# SGLang pins its dependencies, so it has an environment of its own. SGLANG=0.5.17 takes another version.
sglang-environment: .venv/bin/pip
	scripts/sglang-cpu.sh $(if $(SGLANG),--version $(SGLANG))

# Tests that share a server stay together, and the longest come first.
SGLANG_PROCESSES := 2
test-sglang: .venv/dev.stamp sglang-environment $(NEEDS)
	@command -v g++ >/dev/null || { echo "test-sglang: g++ is missing, which torch calls; run: sudo apt-get install --no-install-recommends g++" >&2; exit 1; }
	environment=$$(scripts/sglang-cpu.sh $(if $(SGLANG),--version $(SGLANG))) && \
	  $$environment/bin/python -m pytest -n $(SGLANG_PROCESSES) --dist loadgroup --no-loadscope-reorder tests/runtime/sglang $(ARGS)

ui:
	scripts/ui-needs.sh
	cd solver/espalier/solver/viewer/web && npm run --silent build

ui-test: ui-check ui-browser

ui-check: $(NEEDS)
	scripts/ui-needs.sh
	scripts/ui-check.sh

ui-browser: .venv/dev.stamp
	UI=true $(BIN)/python -m pytest tests/solver/viewer/browser $(ARGS)

# One thread a process, so that rounding and with it the outcome do not depend on the number of cores.
train-tiny: .venv/train.stamp
	rm -rf .work/train-tiny
	OMP_NUM_THREADS=1 $(BIN)/python -m recipes.seedling curriculum --config recipes/tiny/train-tiny.toml --out .work/train-tiny --device cpu

test-chaos: .venv/dev.stamp
	scripts/redis.sh
	CHAOS=full $(BIN)/python -m pytest -s tests/chaos $(ARGS)

deploy-check: .venv/dev.stamp
	scripts/deploy-check.sh

docs: .venv/dev.stamp
	scripts/docs.sh

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/dev.stamp
	$(BIN)/mypy

protos: .venv/dev.stamp
	PYTHON=$(BIN)/python scripts/protos.sh --check

# A file at a time, those with slow tests first. One process more than there are cores: many tests wait for others.
tests: .venv/dev.stamp $(NEEDS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder $(ARGS)

test-nightly:
	TESTS=full CHAOS=full $(MAKE) --no-print-directory test

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# An environment with the extra of this name; made again when what it is made from changes.
.venv/%.stamp: pyproject.toml constraints.txt scripts/venv.sh | .venv/bin/pip
	scripts/venv.sh $*

.venv/bin/pip:
	scripts/venv.sh empty

clean:
	rm -rf .venv .work dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
