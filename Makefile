# Each target sets up what it needs; the second time that takes no time.

CARGO ?= cargo
# Suites run real peers, namespaces and guests, and mostly wait for them: more threads than cores. A skipped
# test is a failure where everything is installed. Shells start background jobs with SIGINT ignored; the suites
# interrupt programs, whoever started them.
TEST_ENV = env --default-signal=INT,QUIT PICKET_NO_SKIP=1 RUST_TEST_THREADS=4

# The agents are linked statically: they start faster, take half the memory, and run in any guest,
# whatever its libraries.
define compile
$(CARGO) build --release --locked --workspace --exclude agents
$(CARGO) rustc --release --locked --package agents --bin picket-agents -- -C target-feature=+crt-static
endef

.PHONY: help build demo test test-long fuzz bench man packages audit clean-lab

help:
	@echo "make demo    check a cluster, put it on two real virtual machines, kill one, watch it recover"
	@echo "make test    formatting, lints, every test: unit, property, interoperation, conformance, lab"
	@echo "make test-long   shared storage and bare metal in the lab: many minutes without hardware virtualisation"
	@echo "make fuzz    every parser of bytes from outside, FUZZ_SECONDS each (needs cargo-fuzz and a nightly compiler)"
	@echo "make build   the programs, in target/release"
	@echo "make bench   measure against the C programs; writes docs/benchmarks.md"
	@echo "make man     man pages, in target/man"
	@echo "make audit   licences and sources of the dependencies (needs cargo-deny)"

build:
	@scripts/setup build
	$(compile)

# No vendor's policy covers clusters of Debian: that is unverified, which will do for a demonstration.
demo:
	@scripts/setup demo
	$(compile)
	target/release/picket check --accept unverified examples/web.toml
	target/release/picket lab up --blank examples/web.toml
	target/release/picket apply examples/web.toml --lab picket-lab --yes
	target/release/picket drill examples/web.toml --fault panic

test:
	@scripts/setup test
	$(CARGO) fmt --all --check
	$(compile)
	$(CARGO) clippy --workspace --all-targets --features picket-tests/long --locked -- -D warnings
	$(TEST_ENV) $(CARGO) test --workspace --locked --no-fail-fast

test-long:
	@scripts/setup test
	$(compile)
	$(TEST_ENV) $(CARGO) test --package picket-tests --features long --locked --no-fail-fast --test lab_mixed --test lab_scsi --test lab_storage

FUZZ_SECONDS ?= 60

# A crash ends it, and its input is kept in fuzz/artifacts.
fuzz:
	set -e; for target in $$($(CARGO) +nightly fuzz list); do \
	    $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=5; done

bench:
	@scripts/setup test
	$(compile)
	target/release/xtask bench --no-build

man:
	$(CARGO) xtask man

audit:
	$(CARGO) deny check licenses bans sources

clean-lab:
	target/release/picket lab down --all
