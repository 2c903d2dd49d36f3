# Everything a newcomer and CI need. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GOLANGCI_VERSION := v2.15.0
TOOLS            := $(CURDIR)/.tools
LINT             := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
VERSION          := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO_BUILD         := go build -trimpath -buildvcs=false -ldflags "-X main.buildVersion=$(VERSION)"
PKGS             := ./...
# Test binaries run one after the other on a small machine: each may start a Postgres and a broker.
TEST_FLAGS       ?= -p 2 -timeout 15m

export CGO_ENABLED ?= 0

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build: bin/agentos ## build bin/agentos

.PHONY: bin/agentos
bin/agentos:
	@mkdir -p bin
	@$(GO_BUILD) -o bin/agentos ./cmd/agentos

# Files and folders get one time and mode whatever the machine, so that every builder makes the same layers of them.
.PHONY: rootfs
rootfs:
	@rm -rf bin/image
	@mkdir -p bin/image/rootfs/usr/bin bin/image/volumes/var/lib/agentos bin/image/volumes/workspaces
	@go build -trimpath -buildvcs=false -ldflags "-s -w -X main.buildVersion=$(VERSION)" -o bin/image/rootfs/usr/bin/agentos ./cmd/agentos
	@chmod -R u=rwX,go=rX bin/image
	@find bin/image -exec touch -h -d @0 {} +

.PHONY: image
image: rootfs ## the container image of all services, AGENTOS_IMAGE (default agentos), without pulling anything
	@bash deploy/docker/image.sh "$(or $(AGENTOS_IMAGE),agentos)"

.PHONY: compose-smoke
compose-smoke: ## run deploy/compose in containers as a user would, break it, and remove it (FORM=short: as CI does)
	@bash deploy/compose/smoke.sh $(FORM)

.PHONY: containers
containers: ## several replicas on containers, disturbed and upgraded (FORM=short: as CI does)
	@bash tests/integration/deployment/containers.sh $(FORM)

.PHONY: processes
processes: build ## the same on processes of this machine, whole; make test runs its short form
	@AGENTOS_TEST_DEPLOYMENT=all bash tests/run.sh -logs -count=1 -timeout 25m -run TestProcesses ./tests/integration/deployment

.PHONY: integration
integration: compose-smoke containers ## the full stack in containers: an engine, the images, compose, several replicas (FORM=short)

.PHONY: setup
setup: ## fetch what the machine lacks (python3, where apt-get can)
	@bash deploy/bare/setup.sh

.PHONY: run
run: setup build ## set up what is missing, start the kernel, run both demonstrations, keep serving (ONESHOT=1: stop)
	@$(GO_BUILD) -o bin/demo ./examples/demo
	@ONESHOT=$(ONESHOT) bin/demo

.PHONY: test
test: setup build ## set up what is missing and run the tests
	@AGENTOS_REQUIRE=postgres,kafka bash tests/run.sh $(TEST_FLAGS) $(PKGS)

.PHONY: generate
generate: ## write generated code, schemas, catalogue and goldens anew
	go generate ./...

.PHONY: drift
drift: generate ## fail when generated files are not what the sources say
	@git diff --exit-code -- api events libs/client libs/telemetry examples services tests/arch \
	  || { echo "generated files differ: run 'make generate' and commit the result"; exit 1; }

$(LINT):
	@echo "building golangci-lint $(GOLANGCI_VERSION) (once, some minutes)"
	@mkdir -p $(TOOLS)
	@cd $$(mktemp -d) && GOFLAGS= GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(TOOLS)/golangci-lint $(LINT)

.PHONY: lint
lint: $(LINT) ## run the linter set
	$(LINT) run $(PKGS)

.PHONY: crash
crash: build ## kill -9 at random points: SEED=n repeats a run, POINTS=n sets their number
	go test -count=1 -timeout 60m -run 'TestKill' -v ./tests/crash -args -points $(or $(POINTS),50) $(if $(SEED),-seed $(SEED))

.PHONY: chaos-short
chaos-short: build ## kills, freezes, crowds of replicas for two minutes: SEED=n takes another plan
	@AGENTOS_TEST_CHAOS=1 bash tests/run.sh -logs -count=1 -timeout 10m ./tests/chaos -args -seed $(or $(SEED),22)

.PHONY: chaos
chaos: build ## a long round of each kind of fault: SEED=n repeats a run, KIND=name runs one kind, KAFKA=1 takes a real Kafka
	$(if $(KAFKA),AGENTOS_TEST_KAFKA=1) go test -count=1 -timeout 3h -run TestLong -v ./tests/chaos -args -long $(if $(SEED),-seed $(SEED)) $(if $(KIND),-kind $(KIND)) $(if $(KAFKA),-kafka)

.PHONY: kafka
kafka: build ## the bus and the kernel on real Apache Kafka 4.4 and 3.9 from their jars, with kill -9 of the broker
	@AGENTOS_TEST_KAFKA=1 bash tests/run.sh -logs -short -count=1 -timeout 15m ./tests/kafka | grep -v 'publishing message$$'

.PHONY: kafka-full
kafka-full: build ## the same with Watermill's universal suite in its full form
	@AGENTOS_TEST_KAFKA=1 bash tests/run.sh -logs -count=1 -timeout 20m ./tests/kafka | grep -v 'publishing message$$'

.PHONY: kubernetes
kubernetes: ## render the Kubernetes manifests and check them as an API server would
	@cd deploy/kubernetes/check && go vet ./... && go test -count=1 ./... && go run . ../overlays/*

.PHONY: observability
observability: setup build ## hold dashboard, alerts and collector configuration against a running kernel
	@cd deploy/observability/check && go vet ./... && go test -count=1 ./... && go run . ../../../bin/agentos

SBOM := $(TOOLS)/cyclonedx-gomod-v1.10.0
VULN := $(TOOLS)/govulncheck-v1.9.0
$(SBOM): MODULE := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
$(VULN): MODULE := golang.org/x/vuln/cmd/govulncheck@v1.9.0
$(SBOM) $(VULN):
	@mkdir -p $(TOOLS)
	@cd $$(mktemp -d) && GOFLAGS= GOBIN=$$PWD go install $(MODULE) && mv $$(basename $@ | sed 's/-v[0-9.]*$$//') $@

.PHONY: sbom
sbom: build $(SBOM) ## bin/sbom.json (CycloneDX) and bin/licences.txt of the binary; fails on a licence that may not be shipped
	@go mod download
	@GOPROXY=off $(SBOM) bin -json -licenses -std -version "$(VERSION)" -output bin/sbom.json bin/agentos 2>bin/sbom.log || { cat bin/sbom.log; exit 1; }
	@go run ./deploy/supply/licences bin/sbom.json >bin/licences.txt
	@echo "bin/sbom.json, bin/licences.txt: $$(wc -l <bin/licences.txt) components"

.PHONY: vuln
vuln: build $(VULN) ## known vulnerabilities in the binary; says NOT CHECKED where the database cannot be reached
	@bash deploy/supply/vuln.sh $(VULN) bin/agentos

.PHONY: bench
bench: build ## measure the figures the README quotes
	go run ./bench all

.PHONY: check
check: ## what CI runs (.ci/check.sh): each step with its time; the end says which failed
	@bash .ci/check.sh

.PHONY: nightly
nightly: check ## the long suites
	$(MAKE) kafka-full
	$(MAKE) processes integration
	$(MAKE) crash POINTS=60
	$(MAKE) chaos
	go run ./bench all

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .run
