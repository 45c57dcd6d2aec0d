# A target depends on what it needs and on nothing else: `environment` (Python and its packages, a minute, once), groups of programs
# (`toolchain get engine cluster`, see toolchain/recipes.py), or `toolchain` (all programs, up to half an hour, once). Both are found on PATH; nothing needs to be activated by hand.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Resolved before PATH changes below, because the environment's own Python cannot create the environment.
PYTHON ?= python3
PYTHON := $(or $(shell command -v $(PYTHON)),$(PYTHON))

CACHE := $(or $(ZIG_AI_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/zig-ai-aks)
# The language host built here takes its environment from VIRTUAL_ENV and PATH.
export VIRTUAL_ENV := $(CURDIR)/.venv
# Compiling the Azure SDK's large modules anew at each start would cost 10 s a run: keep the bytecode, whatever the caller's shell says.
export PYTHONDONTWRITEBYTECODE :=
export PATH := $(VIRTUAL_ENV)/bin:$(CACHE)/bin:$(PATH)

STACK ?= prod

##@ Start here

.PHONY: help
help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: environment
environment: ## Install the Python environment into the per-user cache (once, about a minute)
	@$(PYTHON) -m toolchain venv

.PHONY: toolchain
toolchain: ## Install the Python environment and all programs into the per-user cache (once, up to half an hour)
	@$(PYTHON) -m toolchain

.PHONY: rehearse
rehearse: environment ## Run the whole program on the real Pulumi engine and a real Kubernetes (STACK=prod, CHANGES=all, KEEP=1, SUBSCRIPTION=today)
	@python -m planner plan --stack $(STACK) --summary
	@echo
	@$(PYTHON) -m toolchain get engine cluster
	@python -m rehearsal run --stack $(STACK) $(if $(SUBSCRIPTION),--subscription $(SUBSCRIPTION)) $(if $(KEEP),--keep) $(if $(CHANGES),--changes $(CHANGES))

.PHONY: clean-rehearsal
clean-rehearsal: ## Remove kept rehearsals (all stacks, or STACK=prod)
	@$(if $(wildcard .venv),python -m rehearsal clean $(if $(filter command,$(origin STACK)),--stack $(STACK)),rm -rf .rehearsal)

.PHONY: serve
serve: ## Run the service on this machine with a small model and no GPU, until Ctrl-C (PORT=8080, PIPELINES=2)
	@$(PYTHON) -m toolchain get serving
	@python -m serve --stack $(if $(filter command,$(origin STACK)),$(STACK),dev) $(if $(PORT),--port $(PORT)) $(if $(PIPELINES),--pipelines $(PIPELINES))

.PHONY: test
test: toolchain lint ## Run all tests, with real processes and rehearsals
	pytest -q -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: unit
unit: environment ## Run the tests that start no process (less than two minutes on two cores, Python environment only)
	pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not process"

.PHONY: lint
lint: environment ## Check the style and the types of the Python files, and the workflows
	@ruff check .
	@ruff format --check --quiet .
	@ty check --no-progress --output-format concise
	@$(PYTHON) -m toolchain get actionlint
	@actionlint .github/workflows/*.yml

.PHONY: check
check: environment ## List what `pulumi up` would refuse in a stack file (STACK=prod)
	@python -m stacks check --stack $(STACK)

.PHONY: plan
plan: environment ## Show the plan of a stack: layout, GPU memory, cost, findings (STACK=prod)
	@python -m planner plan --stack $(STACK) --html plan-$(STACK).html

.PHONY: explain
explain: environment ## Say what becomes of each setting, where it takes effect, and why (STACK=prod, KEY=shard.config.workerThreads)
	@python -m stacks explain $(KEY) --stack $(STACK)

.PHONY: bench
bench: toolchain ## Repeat the measurements behind the claims (an hour on two cores); results go to bench/results/
	@python -m bench.planner_speed
	@python -m bench.engine_overhead
	@python -m bench.preview_speed
	@python -m bench.toolchain_build

.PHONY: judge-vllm
judge-vllm: toolchain ## Let vLLM's own code check the command lines that have no verdict yet (10 GB per release; ALL=1 repeats all)
	@python -m tests.engines.vllm_referee $(if $(ALL),--all)

##@ Dependencies

.PHONY: lock
lock: ## Resolve requirements.txt into requirements.lock (UPGRADE=1 takes newer indirect versions)
	@$(PYTHON) -m toolchain lock $(if $(UPGRADE),--upgrade)
