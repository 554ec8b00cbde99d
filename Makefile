# Everything a person or a CI job does with this project. `make` alone prints the list.
#
# PYTHON=python3.13       the interpreter from which .venv is made (3.11 or later; default: python3)
# CARGO_TARGET_DIR=...    where Rust's builds go (default: target/)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# Recipes share one target directory and one .venv; cargo and pip use the cores themselves.
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
PIP_INSTALL = $(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes
STAMPS := $(VENV)/stamps
RUST_TARGET = $(abspath $(or $(CARGO_TARGET_DIR),target))
# One interpreter for every build of the extension, or each would rebuild what the other built.
export PYO3_PYTHON := $(CURDIR)/$(VENV_PYTHON)

EXTENSION_SOURCES := Cargo.toml Cargo.lock rust-toolchain.toml pyproject.toml \
	$(shell find rust/core rust/net rust/python \( -name '*.rs' -o -name Cargo.toml \) -not -path '*/tests/*')
# The load generator and the typing tests are optional parts of a checkout.
LOAD_GENERATOR := $(wildcard rust/load/Cargo.toml)
TYPED_TESTS := $(wildcard tests/typing)
NODE_MODULES := tests/node/node_modules/.package-lock.json

.PHONY: help build serve test test-rust test-loom test-python test-tools lint format types bench-smoke soak wheel lock clean
.PHONY: cargo system-packages

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

# ---------------------------------------------------------------------------------------------------------- build

build: $(STAMPS)/extension ## create .venv and build the package into it

$(STAMPS)/venv:
	@echo "== creating $(VENV) with $(PYTHON)"
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "'$(PYTHON)' is not Python 3.11 or later: install one, or name it: make PYTHON=..." >&2; exit 1; }
	@'$(PYTHON)' -m venv --clear $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/build-requirements: requirements/build.txt $(STAMPS)/venv
	@echo "== installing the runtime and build requirements (requirements/build.txt)"
	@$(PIP_INSTALL) -r requirements/build.txt
	@touch $@

# The package is installed editable: changes to Python files need no new build, so only Rust's are prerequisites.
$(STAMPS)/extension: $(STAMPS)/build-requirements $(EXTENSION_SOURCES) | cargo
	@echo "== building the extension module (release) into $(VENV)"
	@VIRTUAL_ENV='$(CURDIR)/$(VENV)' PIP_QUIET=1 $(VENV)/bin/maturin develop --release
	@touch $@

cargo:
	@command -v cargo >/dev/null || { \
		echo "cargo not found: install Rust with rustup (https://rustup.rs), which takes the version from rust-toolchain.toml" >&2; \
		exit 1; }

serve: build ## run the demo (FILE=... SLOW=... PORT=... TLS=1 are passed on to it)
	$(VENV_PYTHON) -m examples.demo $(if $(FILE),--file '$(FILE)') $(if $(SLOW),--slow '$(SLOW)') $(if $(PORT),--port '$(PORT)') $(if $(TLS),--tls)

# ----------------------------------------------------------------------------------------------------------- test

test: test-rust test-loom test-python ## install what the tests need, then run all of them

test-rust: build ## the Rust tests
	@echo "== cargo test"
	cargo test --workspace

# Another cfg means other artefacts of every crate, hence a target directory of its own; without LTO, since what
# counts here is the number of interleavings, not the last cycle.
test-loom: build ## the interleavings of the mailboxes, by loom
	@echo "== loom"
	CARGO_TARGET_DIR='$(RUST_TARGET)/loom' RUSTFLAGS='--cfg loom' \
		CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
		cargo test --release -p streamconductor-core -p streamconductor-net --lib loom

test-python: build test-tools system-packages load-client $(NODE_MODULES) ## the Python tests (ARGS=... are passed to pytest)
	@echo "== pytest"
	$(VENV_PYTHON) -m pytest $(ARGS)

# The soak in small needs the client; in the tests' own profile, which is built in seconds.
.PHONY: load-client
load-client: | cargo
	@cargo build --quiet -p streamconductor-load

test-tools: $(STAMPS)/test-requirements

$(STAMPS)/test-requirements: requirements/test.txt $(STAMPS)/build-requirements
	@echo "== installing the test requirements (requirements/test.txt)"
	@$(PIP_INSTALL) -r requirements/test.txt
	@touch $@

# Browser tests drive a Chromium of the system (CHROMIUM=... names one that is not on PATH), one peer is Node's ws, and one
# is openssl, which makes the certificate of the demo, too.
system-packages:
	@missing=''; \
	[ -n "$${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null || missing+=' chromium'; \
	command -v node >/dev/null || missing+=' nodejs'; \
	command -v npm >/dev/null || missing+=' npm'; \
	command -v openssl >/dev/null || missing+=' openssl'; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "the tests need:$$missing; install them, then run this again (root with apt-get has it done)" >&2; \
		exit 1; \
	fi; \
	echo "== installing with apt-get:$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq; \
	apt-get install -y -qq --no-install-recommends $$missing >/dev/null

$(NODE_MODULES): tests/node/package.json tests/node/package-lock.json | system-packages
	@echo "== npm ci in tests/node"
	@cd tests/node && npm ci --silent --no-audit --no-fund
	@touch $@

# -------------------------------------------------------------------------------------------------------- quality

lint: test-tools cargo ## formatting and lints, Rust and Python; changes nothing
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: test-tools cargo ## format everything and apply the safe fixes
	cargo fmt --all
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: build test-tools ## mypy --strict, and the stub of the extension against the built module
	$(VENV_PYTHON) -m mypy --strict python $(TYPED_TESTS)
	$(VENV_PYTHON) -m mypy.stubtest streamconductor._core

bench-smoke: build $(if $(LOAD_GENERATOR),load-generator) ## a short run of the benchmarks: do they still work?
	$(VENV_PYTHON) bench/smoke.py

soak: build test-tools load-generator ## every message accounted for, MINUTES=10 long (SOAK=... are passed on to it)
	$(VENV_PYTHON) -m bench.soak --minutes $(or $(MINUTES),10) $(SOAK)

.PHONY: load-generator
load-generator: | cargo
	cargo build --release -p streamconductor-load

# -------------------------------------------------------------------------------------------------------- release

# The proof is an installation as a user has it: a clean environment, another directory, no checkout on the path.
wheel: $(STAMPS)/build-requirements | cargo ## build the abi3 wheel into dist/ and prove it in a clean environment
	@echo "== building the wheel"
	@rm -f dist/*.whl
	@$(VENV)/bin/maturin build --release --out dist --interpreter $(VENV_PYTHON)
	@place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; \
		echo "== installing $$(ls dist/*.whl) into a clean environment"; \
		$(VENV_PYTHON) -m venv "$$place/venv"; \
		"$$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check dist/*.whl; \
		cd "$$place"; "$$place/venv/bin/python" -I '$(CURDIR)/tests/wheel_check.py'

lock: $(STAMPS)/venv ## pin requirements/*.in anew, with hashes, into requirements/*.txt
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	@cd requirements && for name in build test; do \
		CUSTOM_COMPILE_COMMAND='make lock' ../$(VENV_PYTHON) -m piptools compile --quiet --upgrade --generate-hashes \
			--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
			--output-file $$name.txt $$name.in; done

clean: ## remove everything that was built or installed here
	rm -rf $(VENV) target dist tests/node/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(wildcard python tests bench examples) -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/streamconductor/_core*.so
