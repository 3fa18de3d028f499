# "make help" lists the targets.
#
# Built-in paths, as nginx's configure takes them; empty means the default that
# docs/operator.md tells:
#   make build PREFIX=/usr/share/nginx CONF_PATH=/etc/nginx/nginx.conf PID_PATH=/run/nginx.pid
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
OUT ?= build/baton
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//')
PREFIX ?=
CONF_PATH ?=
PID_PATH ?=
ERROR_LOG_PATH ?=
HTTP_LOG_PATH ?=

# Without cgo the executable needs no library of the system: it runs on any Linux of its
# architecture and starts in two thirds of the time (docs/decisions/static.md).
CGO_ENABLED ?= 0

LDFLAGS := $(if $(VERSION),-X main.version=$(VERSION)) \
	$(if $(PREFIX),-X main.prefixPath=$(PREFIX)) $(if $(CONF_PATH),-X main.confPath=$(CONF_PATH)) \
	$(if $(PID_PATH),-X main.pidPath=$(PID_PATH)) $(if $(ERROR_LOG_PATH),-X main.errorLogPath=$(ERROR_LOG_PATH)) \
	$(if $(HTTP_LOG_PATH),-X main.httpLogPath=$(HTTP_LOG_PATH))

# Where install puts things. SBIN_PATH is where the executable goes and what the
# unit file runs. Without it the executable goes to BIN_DIR as baton, and the unit
# file runs sbin/nginx of the prefix, which "baton init" creates there.
DESTDIR ?=
SBIN_PATH ?=
BIN_DIR ?= /usr/local/bin
DATA_DIR ?= /usr/local/share
UNIT_DIR ?= /usr/local/lib/systemd/system

LOADED := ./internal/testbed/acceptance ./internal/testbed/demo ./internal/upgrade
GOLANGCI_VERSION := v2.5.0
FUZZTIME ?= 10s
TESTFLAGS ?=

.PHONY: help
help: ## list the targets
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: build
build: ## build ./build/baton (VERSION= PREFIX= CONF_PATH= PID_PATH= ERROR_LOG_PATH= HTTP_LOG_PATH= CGO_ENABLED=)
	CGO_ENABLED='$(CGO_ENABLED)' $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o '$(OUT)' ./cmd/baton

.PHONY: demo
demo: ## upgrade a server under load, roll it back, upgrade it again, and count what was lost
	$(GO) run ./internal/testbed/demo

.PHONY: test
# The race detector makes every process stay for a second when it ends; tests here
# start thousands. With the profile of cmd/baton all packages would be compiled a second
# time for it.
#
# All tests are built first, side by side. Then those run two packages at a time that mostly
# wait, and one at a time those that put load on servers: two cores are what they need.
test: export GORACE ?= atexit_sleep_ms=10
test: export GOFLAGS := $(GOFLAGS) -pgo=off
test: packages format vet ## everything that must pass: format, vet, all tests with the race detector, linter
	$(GO) test -race -run '^$$' ./... >/dev/null
	@failed=; set -x; \
	$(GO) test -race -p 2 -timeout 60m $(TESTFLAGS) $$($(GO) list ./... | grep -vxF "$$($(GO) list $(LOADED))") || failed=1; \
	$(GO) test -race -p 1 -timeout 60m $(TESTFLAGS) $(LOADED) || failed=1; \
	[ -z "$$failed" ]
	$(MAKE) --no-print-directory lint

.PHONY: bench
bench: ## compare with real servers and write docs/benchmarks.md (a quarter of an hour)
	scripts/test-packages bench
	$(GO) run ./bench -write docs/benchmarks.md

.PHONY: lint
lint: ## run the linter (.golangci.yml)
	$$(scripts/golangci-lint $(GOLANGCI_VERSION)) run --allow-parallel-runners ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	GO='$(GO)' scripts/fuzz $(FUZZTIME)

.PHONY: reproducible
reproducible: ## build the last commit twice and compare the bytes (a minute)
	scripts/reproducible

.PHONY: docs
docs: ## write docs/directives.md anew from the directive table
	$(GO) test -count=1 -run TestDirectivesAreDocumented . -update

.PHONY: install
install: build ## install executable, manual page, completions and unit file (DESTDIR= SBIN_PATH=)
	DESTDIR='$(DESTDIR)' SBIN_PATH='$(SBIN_PATH)' BIN_DIR='$(BIN_DIR)' DATA_DIR='$(DATA_DIR)' UNIT_DIR='$(UNIT_DIR)' \
	PREFIX='$(PREFIX)' PID_PATH='$(PID_PATH)' scripts/install '$(OUT)'

.PHONY: clean
clean: ## remove what was built here
	rm -rf build

# What follows is part of test.

.PHONY: packages
packages:
	scripts/test-packages

.PHONY: format
format:
	@bad=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	if [ -n "$$bad" ]; then echo "gofmt would change:" >&2; echo "$$bad" >&2; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...
