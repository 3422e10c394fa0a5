# `make run` starts the gateway, `make test` runs every test; both install what they need.
# A first build takes about six minutes on two cores. PROFILE=dev builds in four and runs slower.

PROFILE ?= release
ARGS ?=

.PHONY: run test check fake

run:
	@scripts/setup.sh build
	cargo run --locked --profile $(PROFILE) -- serve $(ARGS)

test:
	@scripts/setup.sh test
	@scripts/clients.sh
	cargo test --locked --workspace

# What .ci/run checks before the tests.
check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	cargo test --locked --test tidy

# The fake provider on port 9100, to try the gateway without a real one.
fake:
	cargo run --locked --example fake_provider -- --port 9100 --rows 1000
