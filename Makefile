# Every command of the repository. `make` alone lists them; CI runs `make ci`.
SHELL := /bin/sh
CARGO ?= cargo
# CRATE=session and CRATE=scalekit-session both name scalekit-session.
CRATE ?=

.DEFAULT_GOAL := help
.PHONY: help run setup test lint arrows fmt fmt-check doc bench benches-check soak hack deny package bare ci

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start the checkout example on http://127.0.0.1:8080 (ARGS="--help" lists its options)
	$(CARGO) run -p checkout -- $(ARGS)

setup: ## install the servers and tools that the tests need and this machine lacks
	@sh scripts/setup

test: setup ## run every test and doctest against real servers
	$(CARGO) test --workspace --all-features --no-fail-fast

lint: arrows ## check arrows and house rules, then clippy with warnings as errors
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

arrows: ## check the arrows between crates and the house rules, and that the check still bites
	@python3 scripts/lint-selftest
	@python3 scripts/lint-arrows

fmt: ## format every Rust file
	$(CARGO) fmt --all

fmt-check: ## fail if a Rust file is not formatted
	$(CARGO) fmt --all -- --check

doc: ## build the documentation with warnings as errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

bench: setup ## run every benchmark beside its peers and rewrite docs/benchmarks.md (PART=slo for one section)
	@python3 scripts/bench $(PART)

benches-check: ## compile the benchmarks without running them
	$(CARGO) check --workspace --all-features --benches

soak: setup ## run the attacks with full numbers and rewrite docs/evidence.md (CRATE=session for one crate)
	@python3 scripts/soak $(CRATE)

hack: ## check each feature of each crate alone and all together, and what must not come along
	@python3 scripts/hack

deny: ## check licences, sources and duplicate versions of all dependencies against deny.toml
	@python3 scripts/deny

package: ## build and run the README quickstart outside the workspace, from the packaged files
	@python3 scripts/package

bare: ## run the two README commands on a bare Debian 12 with nothing but Rust (root, slow, not in CI)
	@sh scripts/bare

# Cheap checks first; the compiling ones share target/ and follow each other so that
# each compiles only what the ones before it left out.
ci: ## everything that a change must pass
	$(MAKE) setup
	$(MAKE) fmt-check
	$(MAKE) arrows
	$(MAKE) deny
	$(MAKE) lint
	$(MAKE) doc
	$(MAKE) hack
	$(MAKE) test
	$(MAKE) package
	$(MAKE) benches-check
