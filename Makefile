# Every target makes what it lacks; the work is in testkit/workshop.py.
ROOT := $(if $(wildcard tools/python),$(CURDIR),$(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST))))))
RUN = cd "$(ROOT)" && exec tools/python -m testkit.workshop

export ONCE PYTHON

.PHONY: help up test lint bench clean

help: ## show this
	@echo "Usage: make TARGET"
	@sed -n 's/^\([a-z]*\): ## /  \1	/p' "$(ROOT)/Makefile"

up: ## start a real control plane with gate and enforcer and walk a tour (ONCE=1 ends after it)
	@$(RUN) up

test: ## run all tests; ARGS="..." goes to pytest
	@$(RUN) test $(ARGS)

lint: ## check style, types, layering and the lock
	@$(RUN) lint

bench: ## measure latency, throughput and memory; results are JSON; ARGS="..." goes to it
	@$(RUN) bench $(ARGS)

clean: ## remove this checkout's environment and caches (built programs stay in the cache folder)
	@$(RUN) clean
