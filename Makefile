# qpidd-cluster. `make help` lists the targets.

SHELL := /bin/bash
GO ?= go
# What runs tests: .ci/run has those that fail run once more.
GOTEST ?= $(GO) test
export CGO_ENABLED = 0
BIN := bin/qpidd bin/qpid-cluster bin/qpid-perf
FUZZTIME ?= 10s
SEEDS ?= 100000
FIRST ?= 1

PACKAGES ?= build/packages

.PHONY: help all build packages demo test test-privileged lint bench bench-ring bench-link bench-token bench-cluster bench-failover bench-join bench-memory bench-standalone bench-journal generate fuzz sim-nightly clean deps

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
	$(GOTEST) -timeout 20m ./...

test-privileged: build ## the tests in network namespaces, with clients of other makers and with corosync (root)
	@[ "$$(id -u)" = 0 ] || { echo "run it as root: it makes network namespaces and installs packages"; exit 1; }
	test/e2e/install-clients
	CGO_ENABLED=0 QPIDD_PRIVILEGED=1 $(GOTEST) -count=1 ./host/... ./packaging/generate ./internal/testdisk
	QPIDD_PRIVILEGED=1 $(GOTEST) -count=1 -timeout 30m -p 1 ./test/e2e/privileged ./test/interop/... ./test/datapath
	QPIDD_PRIVILEGED=1 QPIDD_RING_PROVIDER=corosync $(GOTEST) -count=1 -timeout 30m -run 'Hosts|SmallMTU|Cut|Flap|Loss' ./test/e2e/privileged
	for d in packet xdp; do QPID_RING_DATAPATH=$$d QPIDD_PRIVILEGED=1 $(GOTEST) -count=1 -timeout 30m -p 1 -run 'Hosts|SmallMTU|Cut|Flap|Loss|Multicast|Form|IPv6|MTU|Sealed|Unplug|Partition' ./test/e2e/privileged ./test/interop || exit 1; done
	QPID_RING_TOKEN_PASS=yes QPIDD_PRIVILEGED=1 $(GOTEST) -count=1 -timeout 30m -run 'Hosts|SmallMTU|Cut|Flap|Loss|Multicast' ./test/e2e/privileged
	test/e2e/with-corosync $(GOTEST) -count=1 -timeout 30m ./test/e2e

lint: deps ## formatting, vet, and the house rules
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "not formatted: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags invariants ./...
	$(GO) test -count=1 ./internal/lint
	GO=$(GO) internal/check-bpf

bench: bench-ring bench-link bench-token bench-cluster bench-failover bench-join bench-memory bench-standalone bench-journal ## every benchmark; results go to perf/results

bench-cluster: build ## throughput and latency of three members, against RabbitMQ and NATS in the same run
	$(GO) run ./perf/bench cluster

bench-ring: deps ## our ring against corosync's, in network namespaces (root)
	$(GO) run ./perf/bench ring

bench-link: deps ## the ring's datapaths, and guards before them, in network namespaces (root)
	$(GO) run ./perf/bench link

bench-token: deps ## rings whose token the members or the kernel pass on, in network namespaces (root)
	$(GO) run ./perf/bench token

bench-failover: build ## what clients of the survivors notice of a kill -9
	$(GO) run ./perf/bench failover

bench-join: build ## what clients notice when a member joins a cluster with a deep queue
	$(GO) run ./perf/bench join

bench-memory: build ## what a million queued messages cost
	$(GO) run ./perf/bench memory

bench-journal: build ## the journal against fio in the same directory (package fio)
	$(GO) run ./perf/bench journal

bench-standalone: build ## one broker without a cluster, against RabbitMQ
	$(GO) run ./perf/bench standalone

generate: ## make the generated code anew from the specifications' facts
	$(GO) generate ./...

fuzz: ## fuzz every decoder for FUZZTIME
	FUZZTIME=$(FUZZTIME) internal/fuzz-all

sim-nightly: deps ## SEEDS (100000) lives of clusters and of rings, from FIRST (1) on: about two hours
	SEEDS=$(SEEDS) FIRST=$(FIRST) internal/sim-nightly

packages: deps ## RPM and DEB packages in build/packages, checked, and built twice to see that they are the same
	packaging/install-tools
	rm -rf $(PACKAGES)
	packaging/build deb $(PACKAGES)
	packaging/build rpm $(PACKAGES)
	packaging/check $(PACKAGES)

.PHONY: test-appliance
test-appliance: packages ## the packages installed by apt and dnf, and run by systemd in containers (root)
	QPIDD_PRIVILEGED=1 $(GOTEST) -count=1 -timeout 15m ./test/e2e/appliance

.PHONY: test-vm
test-vm: packages ## emulated machines with SELinux in enforcing mode, alone and as a cluster (root, some minutes)
	QPIDD_PRIVILEGED=1 QPIDD_VM=1 $(GOTEST) -count=1 -timeout 50m -v -run Guest ./test/e2e/appliance

clean: ## remove what was built
	rm -rf bin build
	$(GO) clean -testcache
