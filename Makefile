# qpidd-cluster. `make help` lists the targets.

SHELL := /bin/bash
GO ?= go
export CGO_ENABLED = 0
BIN := bin/qpidd bin/qpid-cluster bin/qpid-perf
FUZZTIME ?= 10s

.PHONY: help all build demo test test-privileged lint bench bench-cluster bench-failover bench-memory bench-standalone generate fuzz clean deps

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

all: build

deps: ## check for the tools that a build needs
	@command -v $(GO) >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl, or the package golang-go"; exit 1; }
	@v=$$($(GO) env GOVERSION); [ "$$(printf '%s\ngo1.26\n' "$$v" | sort -V | head -n1)" = go1.26 ] || { echo "Go 1.26 or newer is needed, this is $$v"; exit 1; }

build: deps $(BIN) ## build bin/qpidd, bin/qpid-cluster and bin/qpid-perf

.PHONY: $(BIN)
$(BIN): bin/%: deps
	$(GO) build -trimpath -ldflags='-s -w' -o $@ ./cmd/$*

demo: build ## three brokers on this host: declare on one, publish on another, consume on the third, kill one
	$(GO) run ./test/demo

test: build ## all tests that need no privileges
	$(GO) test -timeout 20m ./...

test-privileged: build ## the tests in network namespaces, and with clients of other makers (root)
	@[ "$$(id -u)" = 0 ] || { echo "run it as root: it makes network namespaces and installs packages"; exit 1; }
	test/e2e/install-clients
	QPIDD_PRIVILEGED=1 $(GO) test -count=1 -timeout 30m ./test/e2e/privileged

lint: deps ## formatting, vet, and the house rules
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "not formatted: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags invariants ./...
	$(GO) test -count=1 ./internal/lint

bench: bench-cluster bench-failover bench-memory bench-standalone ## every benchmark; results go to perf/results

bench-cluster: build ## throughput and latency of three members, against RabbitMQ and NATS in the same run
	$(GO) run ./perf/bench cluster

bench-failover: build ## what clients of the survivors notice of a kill -9
	$(GO) run ./perf/bench failover

bench-memory: build ## what a million queued messages cost
	$(GO) run ./perf/bench memory

bench-standalone: build ## one broker without a cluster, against RabbitMQ
	$(GO) run ./perf/bench standalone

generate: ## make the generated code anew from the specifications' facts
	$(GO) generate ./...

fuzz: ## fuzz every decoder for FUZZTIME
	FUZZTIME=$(FUZZTIME) internal/fuzz-all

clean: ## remove what was built
	rm -rf bin
	$(GO) clean -testcache
