# What can be done with this checkout. Every target may be run twice; scripts/ holds what each one does.
#
# PG_CONFIG names the server to build for and install into: make install PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config

PG_CONFIG ?= pg_config
export PG_CONFIG

.DEFAULT_GOAL := help
.PHONY: help setup build install test test-rust test-e2e bench demo demo-stop clean

help: ## List what can be made.
	@echo "cloudsync: cloud apps as PostgreSQL tables"
	@echo
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: PG_CONFIG (default: pg_config), TESTS (arguments for pytest, with test-e2e),"
	@echo "  BENCH (arguments of the benchmark: '--quick', '--only cancel,quiet')"

setup: ## Install what is needed to build and test (Debian 12, as root or with sudo).
	@bash scripts/setup.sh

build: setup ## Compile the extension, into target/.
	@bash scripts/build.sh

install: build ## Install the extension into the server of PG_CONFIG.
	@bash scripts/install.sh

test: ## Set up, build, install and run every test.
	@bash scripts/test.sh

test-rust: setup ## Run only the tests that need no server.
	@bash scripts/test.sh rust

test-e2e: ## Run only the end-to-end tests, against what is installed. TESTS='-k cancel' picks some.
	@bash scripts/test.sh e2e

bench: install ## Measure speed, memory and calls against COPY and others: docs/benchmarks.md. About 25 minutes.
	@bash scripts/bench.sh $(BENCH)

demo: ## Show it all: a private server on 127.0.0.1:54329 and five simulated apps; leaves them running.
	@bash demo/run.sh

demo-stop: ## End what make demo left running, and remove its data.
	@bash demo/stop.sh

clean: ## Remove everything that was built.
	@bash demo/stop.sh
	@rm -rf target
