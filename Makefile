# What a person or a machine does with this repository. `make` alone lists it.
#
# Asks for a Rust toolchain with a C compiler, CPython 3.11 or later with venv, make and bash. All else is installed into
# .venv, at the versions that pyproject.toml pins.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOGS := target/logs
MODULE := $(wildcard python/mcpgateway_rust/_native.*.so)
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src shm services -name '*.rs' -o -name Cargo.toml)

# Whichever environment a shell has active, ours is the one that is installed into.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX PYTHONPATH PYTHONHOME

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  ARGS="..." is passed on by test-rust, test-python, conformance, fuzz, bench, bench-a2a, bench-json, bench-mcp, bench-shm,'
	@echo '  sweep, cargo-bench and soak'

# ---- The environment

.PHONY: setup
setup: $(INSTALLED)/bench ## Build the native module and install it into .venv, with what the benches need

$(INSTALLED)/tools: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) was not found: install CPython 3.11 or later, or say make PYTHON=/path/to/python' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): CPython 3.11 or later is needed, say make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo '$(PYTHON) has no venv module: install it (Debian and Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@command -v cargo >/dev/null || { echo 'cargo was not found: install a Rust toolchain' >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$($(BIN)/python -c "$$BUILD_REQUIREMENT")"
	@mkdir -p $(INSTALLED) && touch $@

define BUILD_REQUIREMENT
import pathlib, tomllib
print(*tomllib.loads(pathlib.Path("pyproject.toml").read_text())["build-system"]["requires"])
endef
export BUILD_REQUIREMENT

# The native module is installed in one of three ways, each with the packages that its users need. The tests need
# the points at which they make the engine panic; what is measured, and what users get, is built without them. The
# last build is the one that counts: it makes the other two out of date, and so does one that was made by hand.
$(INSTALLED)/demo: EXTRAS := demo
$(INSTALLED)/bench: EXTRAS := demo,bench
$(INSTALLED)/test: EXTRAS := test,lint
$(INSTALLED)/test: FEATURES := python,failpoints
FEATURES := python

$(addprefix $(INSTALLED)/,demo bench test): $(INSTALLED)/tools $(RUST_SOURCES) $(or $(MODULE),no-module)
	@rm -f $(addprefix $(INSTALLED)/,demo bench test)
	$(BIN)/maturin develop --release --features $(FEATURES) --extras $(EXTRAS)
	@touch $@

.PHONY: no-module
no-module:

# Peers of the tests that pip cannot bring into .venv: the MCP SDK 1.x, which excludes 2.x, has an environment of its
# own; nginx comes from the distribution, and the tests that need it are skipped where it cannot be installed.
MCP1 := .venv-mcp1

$(MCP1)/.installed: tests/support/mcp1.txt $(INSTALLED)/tools
	test -x $(MCP1)/bin/python || $(PYTHON) -m venv $(MCP1)
	$(MCP1)/bin/python -m pip install --quiet --requirement tests/support/mcp1.txt
	@touch $@

.PHONY: nginx
nginx:
	@command -v nginx /usr/sbin/nginx >/dev/null && exit 0; \
	if ! command -v apt-get >/dev/null; then echo 'nginx was not found: install it, or its tests are skipped' >&2; exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo 'nginx was not found: apt install nginx-light, or its tests are skipped' >&2; exit 0; fi; \
	echo 'nginx was not found: installing nginx-light, without starting it'; \
	export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive; \
	install() { apt-get install --yes --quiet --no-install-recommends nginx-light >/dev/null; }; \
	install || { apt-get update --quiet >/dev/null && install; } || echo 'nginx could not be installed: its tests are skipped' >&2

.PHONY: browser
browser:
	@command -v chromium >/dev/null && exit 0; \
	if ! command -v apt-get >/dev/null; then echo 'Chromium was not found: install it, or its tests are skipped' >&2; exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo 'Chromium was not found: apt install chromium, or its tests are skipped' >&2; exit 0; fi; \
	echo 'Chromium was not found: installing it, for the tests that open the page of a sweep'; \
	export DEBIAN_FRONTEND=noninteractive; \
	install() { apt-get install --yes --quiet --no-install-recommends chromium >/dev/null; }; \
	install || { apt-get update --quiet >/dev/null && install; } || echo 'Chromium could not be installed: its tests are skipped' >&2

# ---- What a user looks at

.PHONY: demo
demo: $(INSTALLED)/demo ## From nothing to a table: large bodies up and down, beside httpx
	$(BIN)/python benches/python/demo.py

.PHONY: bench
bench: $(INSTALLED)/bench ## Measure every figure against its peers (about an hour; ARGS="--quick" for a minute or two)
	$(BIN)/python benches/python/first_light.py $(ARGS)

.PHONY: bench-a2a
bench-a2a: $(INSTALLED)/bench ## Measure agents beside the official A2A client (about an hour; ARGS="--quick" for minutes)
	$(BIN)/python benches/python/a2a_cases.py $(ARGS)

.PHONY: bench-json
bench-json: $(INSTALLED)/bench ## Measure JSON beside orjson and others (about forty minutes; ARGS="--quick" for ten)
	$(BIN)/python benches/python/json_cases.py $(ARGS)

.PHONY: bench-shm
bench-shm: $(INSTALLED)/bench ## Measure payloads between processes, beside the standard library (minutes; ARGS="--quick")
	$(BIN)/python benches/python/shm_cases.py $(ARGS)

.PHONY: bench-mcp
bench-mcp: $(INSTALLED)/bench nginx ## Measure tools and resources beside the official client (about forty minutes; ARGS="--quick")
	$(BIN)/python benches/python/mcp_cases.py $(ARGS)

.PHONY: sweep
sweep: $(INSTALLED)/bench ## Payloads of every size beside other clients (two minutes; ARGS="--full" for hours)
	@mkdir -p target/sweep
	@file=target/sweep/$$(date +%Y-%m-%dT%H%M%S); status=0; \
	$(BIN)/mcpgateway-rust sweep $(ARGS) --output $$file.jsonl || status=$$?; \
	test ! -f $$file.jsonl || { \
		$(BIN)/mcpgateway-rust sweep report $$file.jsonl --pictures $$file >/dev/null; \
		echo "a page with charts: $$file.html"; \
	}; \
	exit $$status

.PHONY: performance-docs
performance-docs: $(INSTALLED)/bench ## Write docs/performance.md and the README's table from benches/results/
	$(BIN)/python benches/python/performance_docs.py

# py-spy looks at the build below target/profile, which has the names and lines that what users get has not.
.PHONY: profile
profile: $(INSTALLED)/bench ## One flame graph across Python and Rust: target/profile/flame.svg
	$(BIN)/python -m pip install --quiet "$$($(BIN)/python -c "$$PROFILER")"
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo build --profile profiling --features python
	@rm -rf target/profile && mkdir -p target/profile
	cp -r python/mcpgateway_rust target/profile/
	cd target/profile/mcpgateway_rust && cp ../../profiling/lib_native.so "$$(ls _native.*.so)"
	PYTHONPATH=target/profile $(BIN)/py-spy record --native --rate 200 --output target/profile/flame.svg -- \
		$(BIN)/python benches/python/profiled.py

define PROFILER
import pathlib, tomllib
print(*tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]["optional-dependencies"]["profile"])
endef
export PROFILER

.PHONY: cargo-bench
cargo-bench: ## The benches in Rust
	cargo bench $(ARGS)

# ---- Tests

.PHONY: test
test: ## From nothing: the tests in Rust, those in Python, and the MCP conformance kit
	@rm -f $(LOGS)/*.log
	@failed=0; \
	$(MAKE) test-rust || failed=1; \
	$(MAKE) test-python || failed=1; \
	$(MAKE) conformance || failed=1; \
	echo; \
	grep '^test result: ' $(LOGS)/rust.log 2>/dev/null || { echo 'cargo test did not come to its end'; failed=1; }; \
	tail -n 1 $(LOGS)/python.log 2>/dev/null || { echo 'pytest was not run'; failed=1; }; \
	tail -n 1 $(LOGS)/conformance.log 2>/dev/null || { echo 'the conformance kit was not run'; failed=1; }; \
	exit $$failed

.PHONY: test-rust
test-rust: ## Only those in Rust; they need no Python
	@mkdir -p $(LOGS)
	cargo test $(ARGS) 2>&1 | tee $(LOGS)/rust.log

.PHONY: test-python
test-python: $(INSTALLED)/test $(MCP1)/.installed nginx browser ## Only those in Python, such as ARGS="-k fork"
	@mkdir -p $(LOGS)
	$(BIN)/python -m pytest $(ARGS) 2>&1 | tee $(LOGS)/python.log

# The conformance kit of MCP, from the npm registry; Node.js and npm are among the packages of the tests.
KIT := target/conformance

$(KIT)/.installed: tests/conformance/package.json tests/conformance/package-lock.json | $(INSTALLED)/test
	@mkdir -p $(KIT)
	cp tests/conformance/package.json tests/conformance/package-lock.json $(KIT)
	cd $(KIT) && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: conformance
conformance: $(INSTALLED)/test $(KIT)/.installed ## What the MCP conformance kit asks of clients, in both generations
	@mkdir -p $(LOGS)
	$(BIN)/python tests/conformance/run.py $(ARGS) 2>&1 | tee $(LOGS)/conformance.log

.PHONY: test-portable
test-portable: ## The tests of shm by the ways of systems without sealed memory files
	RUSTFLAGS='--cfg mcpgateway_portable' cargo test --package mcpgateway_shm --target-dir target/portable $(ARGS)

.PHONY: asan
asan: ## The tests of shm under AddressSanitizer, which finds misuse of memory
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=address' ASAN_OPTIONS=detect_leaks=0 cargo test --package mcpgateway_shm \
		--target $$(rustc -vV | sed -n 's/^host: //p') --target-dir target/asan --lib --test spool $(ARGS)

.PHONY: soak
soak: soak-rust $(INSTALLED)/test $(MCP1)/.installed nginx ## The tests that are too long for every run
	$(BIN)/python -m pytest -m soak --timeout 1800 $(ARGS)

.PHONY: soak-rust
soak-rust: ## Only those in Rust: a million changed references, a thousand workers killed, 200 failed system calls
	MCPGATEWAY_SOAK=1 cargo test --package mcpgateway_shm --test spool --test processes

# Coverage by the compiler, and AddressSanitizer, which a stable toolchain has too once it is told to.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Zsanitizer=address

.PHONY: fuzz
fuzz: ## Try JSON that nobody thought of, against other implementations: ARGS="target seconds", as in tests/fuzz/targets
	@set -- $(or $(ARGS),document 60); target=$$1; seconds=$${2:-60}; \
	corpus=target/fuzz/corpus/$$target; mkdir -p $$corpus; \
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='$(FUZZ_FLAGS)' cargo run --release --manifest-path tests/fuzz/Cargo.toml \
		--target x86_64-unknown-linux-gnu --target-dir target/fuzz --bin $$target -- \
		-max_total_time=$$seconds -max_len=4096 -dict=tests/fuzz/json.dict -artifact_prefix=$$corpus- $$corpus

.PHONY: miri
miri: ## The tests of shm under Miri, which finds undefined behaviour (needs the nightly component miri)
	@cargo +nightly miri --version >/dev/null 2>&1 || { echo 'Miri was not found: rustup +nightly component add miri rust-src' >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --package mcpgateway_shm --lib

# ---- Form

.PHONY: lint
lint: $(INSTALLED)/test ## Form, lints and types, in Rust and in Python
	cargo fmt --check
	cargo clippy --all-targets -- --deny warnings
	RUSTFLAGS='--cfg mcpgateway_portable' cargo clippy --package mcpgateway_shm --all-targets --target-dir target/portable -- --deny warnings
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo clippy --workspace --all-targets --features python,failpoints -- --deny warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/stubtest --ignore-unused-allowlist --allowlist tests/stubtest_allowlist.txt mcpgateway_rust._native

.PHONY: format
format: $(INSTALLED)/test ## Bring the sources into form
	cargo fmt
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove all that was built or installed here
	rm -rf target $(VENV) $(MCP1) dist python/mcpgateway_rust/_native.*.so
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find python tests benches examples -name __pycache__ -prune -exec rm -rf {} +
