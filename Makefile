# Needs make, a Rust toolchain and any Python from 3.11 on. Everything else goes into .venv in this tree.
.DEFAULT_GOAL := help
.PHONY: help build demo test chromium check sdk bench loadtest faults fmt clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
BIN := .venv/bin
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo -n)
UV := VIRTUAL_ENV= $(BIN)/uv
RUST_SOURCES := Cargo.toml Cargo.lock $(wildcard rust_core/Cargo.toml rust_core/src/*.rs rust_core/src/*/*.rs)

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.venv/made: pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "No Python from 3.11 on was found. On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "No Rust toolchain was found: see https://rustup.rs" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "Python's venv is missing. On Debian or Ubuntu: apt-get install python3-venv" >&2; rm -rf .venv; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) sync --quiet --frozen --inexact --no-install-project
	@touch $@

# --inexact and maturin's own install: the editable package is rebuilt only when a source of the Rust core changed.
.venv/built: .venv/made $(RUST_SOURCES)
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/maturin develop --release --quiet --uv
	@touch $@

build: .venv/built ## the environment and the Rust core, in this tree

demo: build ## everything started, traffic, a crash, and the ledger verified: under a minute
	$(BIN)/buffmoney demo

# tests/browser need a Chromium, and a font with Chinese for their pictures. Whoever may install packages gets both; others skip those tests.
chromium:
	@command -v chromium >/dev/null || { \
		command -v apt-get >/dev/null && $(SUDO) true 2>/dev/null && echo "Installing Debian's chromium for tests/browser" && \
		$(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -qq -y --no-install-recommends chromium fonts-noto-cjk >/dev/null; \
	} || echo "Without Chromium the tests of the checkout in a browser are skipped: apt-get install chromium fonts-noto-cjk" >&2

test: build chromium ## all tests, Rust and Python
	cargo test --quiet --workspace
	$(BIN)/pytest

check: build ## format, lints, types, layers, the stub of the Rust module
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m mypy.stubtest buffmoney._core --ignore-disjoint-bases
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo clippy --quiet --workspace --features buffmoney_core/python -- -D warnings

# Node and npm come from a wheel, into .venv as well. The document goes through a file, so that a failure in Python is one here.
sdk: export PATH := $(CURDIR)/$(BIN):$(PATH)
sdk: build ## the TypeScript SDK: types from the routes, compiled, packed into sdk/typescript/*.tgz
	@mkdir -p .cache
	$(BIN)/python -c "import json; from buffmoney.edge import app, openapi; \
		print(json.dumps(openapi.document(tuple(route for route in app.ROUTES if route.documented))))" >.cache/openapi.json
	cd sdk/typescript && npm ci --silent && npm run --silent generate ../../.cache/openapi.json >src/generated.new && mv src/generated.new src/generated.ts
	cd sdk/typescript && npm run --silent build && npm pack --silent

bench: build sdk ## the benchmarks of the README, into benches/results/latest.json
	$(BIN)/python -m benches

loadtest: build ## locust for 30 s against BUFFMONEY_URL with BUFFMONEY_API_KEY, else against a `buffmoney up` of its own
	$(BIN)/python -m loadtests

faults: build ## kills and other faults under load: acked, lost, doubled, left open
	$(BIN)/python -m tests.faults

fmt: .venv/made ## formats everything
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format
	cargo fmt --all

clean: ## removes what was built here
	rm -rf .venv target tests/spectral/node_modules sdk/typescript/node_modules sdk/typescript/dist
