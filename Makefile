# Each target sets up what it needs; the second time that takes no time.

CARGO ?= cargo
# Suites run real peers, namespaces and guests; a skipped test is a failure where everything is installed.
TEST_ENV = PICKET_NO_SKIP=1

.PHONY: help build demo test bench man packages audit clean-lab

help:
	@echo "make demo    start a real two-node cluster in virtual machines, kill a node, watch it recover"
	@echo "make test    formatting, lints, every test: unit, property, interoperation, conformance, lab"
	@echo "make build   the programs, in target/release"
	@echo "make bench   measure against the C programs; writes docs/benchmarks.md"
	@echo "make man     man pages, in target/man"
	@echo "make audit   licences and sources of the dependencies (needs cargo-deny)"

build:
	@scripts/setup build
	$(CARGO) build --release --locked

demo:
	@scripts/setup demo
	$(CARGO) build --release --locked
	target/release/picket drill examples/web.toml --fault panic

test:
	@scripts/setup test
	$(CARGO) fmt --all --check
	$(CARGO) build --release --locked
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(TEST_ENV) $(CARGO) test --workspace --locked

bench:
	@scripts/setup test
	$(CARGO) build --release --locked
	$(CARGO) xtask bench

man:
	$(CARGO) xtask man

audit:
	$(CARGO) deny check licenses bans sources

clean-lab:
	target/release/picket lab down --all
