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
	$(shell find rust/core rust/load rust/net rust/python \( -name '*.rs' -o -name Cargo.toml \) -not -path '*/tests/*')
# The typing tests are an optional part of a checkout.
TYPED_TESTS := $(wildcard tests/typing)
NODE_MODULES := tests/node/node_modules/.package-lock.json

.PHONY: help build serve test test-rust test-loom test-python rows test-tools conformance lint format types bench-smoke
.PHONY: soak wheel lock clean
.PHONY: cargo system-packages

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 26

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
	@VIRTUAL_ENV='$(CURDIR)/$(VENV)' PIP_QUIET=1 $(VENV)/bin/maturin develop --release --locked
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
	cargo test --locked --workspace

# Another cfg means other artefacts of every crate, hence a target directory of its own; without LTO, since what
# counts here is the number of interleavings, not the last cycle.
test-loom: build ## the interleavings of the mailboxes, by loom
	@echo "== loom"
	CARGO_TARGET_DIR='$(RUST_TARGET)/loom' RUSTFLAGS='--cfg loom' \
		CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
		cargo test --locked --release -p streamconductor-core -p streamconductor-net --lib loom

test-python: build test-tools system-packages load-client $(NODE_MODULES) ## the Python tests (ARGS=... are passed to pytest)
	@echo "== pytest"
	$(VENV_PYTHON) -m pytest $(ARGS)

# Every test run tries them a few times; this is for releases.
rows: build test-tools ## the rows of hostile input, cheap ones a thousand times (ROWS_REPEAT=...)
	@echo "== rows of hostile input"
	ROWS_REPEAT='$(or $(ROWS_REPEAT),1000)' $(VENV_PYTHON) -m pytest tests/protocol/test_rows.py $(ARGS)
# The soak in small needs the client; in the tests' own profile, which is built in seconds.
.PHONY: load-client
load-client: | cargo
	@cargo build --locked --quiet -p streamconductor-load

test-tools: $(STAMPS)/test-requirements

$(STAMPS)/test-requirements: requirements/test.txt $(STAMPS)/build-requirements
	@echo "== installing the test requirements (requirements/test.txt)"
	@$(PIP_INSTALL) -r requirements/test.txt
	@touch $@

# Browser tests drive a Chromium of the system (CHROMIUM=... names one that is not on PATH); Node's ws is one peer, openssl,
# which makes the certificate of the demo, too, is another, and nginx is the proxy that servers stand behind.
system-packages:
	@missing=''; \
	[ -n "$${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null || missing+=' chromium'; \
	command -v node >/dev/null || missing+=' nodejs'; \
	command -v npm >/dev/null || missing+=' npm'; \
	PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || missing+=' nginx'; \
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

# The client under test is built as the tests are, whose artefacts are there already.
conformance: build ## all cases of Autobahn|Testsuite, both roles (ACCEPT=1: as it is now is right; CASES="9.* 6.4.3")
	@cargo build --locked --quiet -p streamconductor-load
	@set -f; $(VENV_PYTHON) -m compliance --load '$(RUST_TARGET)/debug/streamconductor-load' $(if $(ACCEPT),--accept) -- $(CASES)
# ------------------------------------------------------------------------------------------------------- fuzzing

# libFuzzer's instrumentation needs a nightly compiler; nothing else here does.
NIGHTLY ?= nightly
SECONDS ?= 60
SANITIZER ?= address
# Built into the target directory, so that nothing is installed outside the checkout; another version, another place.
TOOLS = $(RUST_TARGET)/tools
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ = $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz
FUZZ_BUILD = $(RUST_TARGET)/fuzz
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
CAMPAIGN = python3 rust/fuzz/campaign.py --binaries '$(FUZZ_BUILD)/$(FUZZ_HOST)/release' --found '$(FUZZ_BUILD)/found' \
	$(if $(TARGET),--target '$(TARGET)')

.PHONY: fuzz fuzz-build fuzz-seeds fuzz-corpus miri nightly

fuzz: fuzz-build ## fuzz each target for SECONDS (60), or one: TARGET=shard; SANITIZER=none is faster
	@$(CAMPAIGN) --seconds $(SECONDS)

fuzz-build: nightly $(CARGO_FUZZ)
	@echo "== building the fuzz targets (sanitizer: $(SANITIZER))"
	@cargo fetch --locked --quiet --manifest-path rust/fuzz/Cargo.toml
	@CARGO_TARGET_DIR='$(FUZZ_BUILD)' PATH="$(dir $(CARGO_FUZZ)):$$PATH" \
		cargo +$(NIGHTLY) fuzz build --fuzz-dir rust/fuzz --sanitizer $(SANITIZER)

fuzz-seeds: | cargo ## write the seeds of rust/core/tests/fuzz_targets/seeds into rust/fuzz/corpus
	cargo test --quiet --locked -p streamconductor-core --test corpora -- --ignored write_the_seeds

fuzz-corpus: fuzz-build ## take over what fuzzing found and the corpora in the repository do not reach
	@$(CAMPAIGN) --keep

$(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz: | cargo
	@echo "== installing cargo-fuzz $(CARGO_FUZZ_VERSION) into $(TOOLS)"
	@CARGO_TARGET_DIR='$(TOOLS)/build' cargo install --quiet --locked --no-track \
		--root '$(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)' --version $(CARGO_FUZZ_VERSION) cargo-fuzz

nightly: | cargo
	@cargo +$(NIGHTLY) --version >/dev/null 2>&1 || { \
		echo "this needs a nightly toolchain: rustup toolchain install nightly, or name one: NIGHTLY=..." >&2; exit 1; }

# What takes minutes natively takes days there: the interpreter gets the unit tests and the tests without random runs.
MIRI_TESTS := codec_rules eviction handshake_head handshake_origins handshake_responses handshake_routes \
	handshake_rules lifecycle pool ring_output ring_policies wheel
miri: nightly ## the core's tests under Miri, where the nightly toolchain carries it
	@cargo +$(NIGHTLY) miri --version >/dev/null 2>&1 || { \
		echo "the toolchain '$(NIGHTLY)' has no Miri: rustup component add --toolchain $(NIGHTLY) miri rust-src" >&2; \
		echo "(not every nightly carries it; the last that does can be named: make miri NIGHTLY=nightly-<date>)" >&2; \
		exit 1; }
	CARGO_TARGET_DIR='$(RUST_TARGET)/miri' MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 \
		cargo +$(NIGHTLY) miri test --locked -p streamconductor-core --lib $(addprefix --test ,$(MIRI_TESTS))

# -------------------------------------------------------------------------------------------------------- quality

lint: test-tools cargo ## formatting and lints, Rust and Python; changes nothing
	cargo fmt --all --check
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/zizmor --offline --quiet --no-progress --pedantic .github

format: test-tools cargo ## format everything and apply the safe fixes
	cargo fmt --all
	cargo fmt --manifest-path rust/fuzz/Cargo.toml
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: build test-tools ## mypy --strict, and the stub of the extension against the built module
	$(VENV_PYTHON) -m mypy --strict python $(TYPED_TESTS)
	$(VENV_PYTHON) -m mypy.stubtest streamconductor._core

# ---------------------------------------------------------------------------------------------------- supply chain

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY = $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
PIP_AUDIT = $(TOOLS)/pip-audit
DENY = $(CARGO_DENY) --locked --log-level error --config deny.toml
# Without its database an audit has looked at nothing: said loudly here, and a failure in CI, where it must be reached.
NOT_ASKED = { printf '\n!! %s\n!! SKIPPED: nothing was checked for known vulnerabilities.\n\n' "$$reason" >&2; \
	test -z "$${CI:-}"; }

.PHONY: audit audit-crates audit-packages

audit: audit-crates audit-packages ## licences, sources and known vulnerabilities of everything that is depended on

audit-crates: $(CARGO_DENY)
	@echo "== cargo deny"
	@for manifest in Cargo.toml rust/fuzz/Cargo.toml; do \
		$(DENY) --manifest-path $$manifest check licenses bans sources; done
	@if $(DENY) fetch db; then \
		for manifest in Cargo.toml rust/fuzz/Cargo.toml; do \
			$(DENY) --manifest-path $$manifest check --disable-fetch advisories; done; \
	else reason='the RustSec advisory database cannot be reached'; $(NOT_ASKED); fi

audit-packages: $(PIP_AUDIT)/installed
	@echo "== pip-audit"
	@place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; outcome=0; \
	$(PIP_AUDIT)/bin/pip-audit --require-hashes --disable-pip --progress-spinner off --desc off --format json \
		--output "$$place/report" $(foreach name,build test audit,--requirement requirements/$(name).txt) \
		>"$$place/words" 2>&1 || outcome=$$?; \
	: "It says that nothing was found where it could ask for no package at all."; \
	if ! grep -qs '"vulns"' "$$place/report"; then \
		reason='no package index that knows of vulnerabilities can be reached'; $(NOT_ASKED); \
	else cat "$$place/words"; \
		if grep -o '"skip_reason": "[^"]*"' "$$place/report"; then outcome=1; fi; exit $$outcome; fi

$(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny: | cargo
	@echo "== installing cargo-deny $(CARGO_DENY_VERSION) into $(TOOLS) (some minutes, once)"
	@CARGO_TARGET_DIR='$(TOOLS)/build' cargo install --quiet --locked --no-track \
		--root '$(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)' --version $(CARGO_DENY_VERSION) cargo-deny

# An environment of its own: what audits the packages is not one of them.
$(TOOLS)/pip-audit/installed: requirements/audit.txt $(STAMPS)/venv
	@echo "== installing pip-audit (requirements/audit.txt)"
	@$(VENV_PYTHON) -m venv --clear $(PIP_AUDIT)
	@$(PIP_AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@touch $@

# ------------------------------------------------------------------------------------------------------ benchmarks

# Quick runs print their tables; figures for the documentation are those of a full one.
BENCH_RESULTS = $(if $(QUICK),$(RUST_TARGET)/bench/quick.json,docs/benchmarks/results.json)
.PHONY: bench bench-peers

bench: bench-peers ## this server beside its peers, hours; QUICK=1: minutes (BENCH=... are passed on to `python -m bench`)
	$(VENV_PYTHON) -m bench $(if $(QUICK),--quick) --json '$(BENCH_RESULTS)' $(BENCH)
	$(if $(QUICK),,$(VENV_PYTHON) -m bench.render '$(BENCH_RESULTS)')

# Below the target directory, each from what is pinned for it. Who cannot be built is missing from the tables, which say so.
bench-peers: build test-tools ## build the peers of the benchmarks, each in an environment of its own (PEERS="ws gws")
	@echo "== peers of the benchmarks"
	@$(VENV_PYTHON) -m bench.environments $(PEERS)

bench-smoke: build test-tools ## a short run of the benchmarks: do they still work, and is it still fast?
	@$(VENV_PYTHON) -m bench.environments websockets
	$(VENV_PYTHON) -m bench.smoke

# Counted is what is shipped: the release profile, whose artefacts `make build` has made already for the most part.
bench-instructions: $(STAMPS)/venv valgrind ## instructions of the core's workloads against the baseline (ACCEPT=1; WORKLOADS="ring/*")
	@echo "== building the workloads (release)"
	@cargo build --locked --quiet --release -p streamconductor-bench
	@set -f; $(VENV_PYTHON) -m bench.instructions --program '$(RUST_TARGET)/release/streamconductor-workload' \
		$(if $(ACCEPT),--accept) $(if $(PROFILES),--profiles '$(PROFILES)') -- $(WORKLOADS)

bench-micro: | cargo ## the same workloads timed by criterion (ARGS=... are passed to it, such as ARGS=fan-out)
	cargo bench --locked -p streamconductor-bench --bench micro -- $(ARGS)

# Where it can neither be found nor installed, the counting says so and nothing fails.
.PHONY: valgrind bench-instructions bench-micro
valgrind: | cargo
	@if ! command -v valgrind >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== installing with apt-get: valgrind"; \
		export DEBIAN_FRONTEND=noninteractive; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends valgrind >/dev/null; } || true; \
	fi

soak: build test-tools load-generator ## every message accounted for, MINUTES=10 long (SOAK=... are passed on to it)
	$(VENV_PYTHON) -m bench.soak --minutes $(or $(MINUTES),10) $(SOAK)

.PHONY: load-generator
load-generator: | cargo
	cargo build --locked --release -p streamconductor-load

# -------------------------------------------------------------------------------------------------------- release

# The proof is an installation as a user has it: a clean environment, another directory, no checkout on the path.
wheel: $(STAMPS)/build-requirements | cargo ## build the abi3 wheel into dist/ and prove it in a clean environment
	@echo "== building the wheel"
	@rm -f dist/*.whl
	@$(VENV)/bin/maturin build --release --locked --out dist --interpreter $(VENV_PYTHON)
	@place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; \
		echo "== installing $$(ls dist/*.whl) into a clean environment"; \
		$(VENV_PYTHON) -m venv "$$place/venv"; \
		"$$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check dist/*.whl; \
		cd "$$place"; "$$place/venv/bin/python" -I '$(CURDIR)/tests/wheel_check.py'

lock: $(STAMPS)/venv ## pin requirements/*.in anew, with hashes, into requirements/*.txt
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	@for name in $(addprefix requirements/,build test audit) $(basename $(wildcard bench/peers/requirements/*.in)); do \
		cd "$(CURDIR)/$$(dirname $$name)"; name=$$(basename $$name); \
		CUSTOM_COMPILE_COMMAND='make lock' '$(CURDIR)/$(VENV_PYTHON)' -m piptools compile --quiet --upgrade --generate-hashes \
			--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
			--output-file $$name.txt $$name.in; done

clean: ## remove everything that was built or installed here
	rm -rf $(VENV) target dist tests/node/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(wildcard python tests bench examples) -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/streamconductor/_core*.so
