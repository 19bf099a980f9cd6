# The verbs. Their logic is in xtask/; CARGO_TARGET_DIR and XDG_CACHE_HOME are respected.
XTASK = cargo run --release --quiet --package xtask --

.DEFAULT_GOAL := help
.PHONY: help demo test bench fuzz guests check distribution services clean-demo nightly zoo

help:
	@echo 'make demo          set everything up, start two workspaces, print their URLs; Ctrl-C stops all of it'
	@echo 'make test          set everything up and run the tests'
	@echo 'make check         formatting, lints, licences'
	@echo 'make bench         orbitd beside nginx in one run; appends to target/bench/results.jsonl'
	@echo 'make fuzz          damage a million policy modules and look for panics in the engine'
	@echo 'make zoo           the engine'"'"'s tests with another Wasmtime: make zoo WASMTIME=50'
	@echo 'make nightly       kill the daemon at all pairs of its crash points, and 500 times at random'
	@echo 'make guests        build the policies of guests/ into policies/modules'
	@echo 'make distribution  install the pinned Backstage into the cache; prints its path'
	@echo 'make services      install what tests and bench need of Debian'
	@echo 'make clean-demo    forget the demo: its data, its keys, its copy of the configuration'

demo:
	@$(XTASK) demo
test:
	@$(XTASK) test
bench:
	@$(XTASK) bench
fuzz:
	@$(XTASK) fuzz
zoo:
	@$(XTASK) zoo --wasmtime $(WASMTIME)
nightly:
	@$(XTASK) nightly
guests:
	@$(XTASK) guests
check:
	@$(XTASK) check
distribution:
	@$(XTASK) distribution
services:
	@$(XTASK) services
clean-demo:
	@$(XTASK) clean-demo
