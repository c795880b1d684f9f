# make test and make demo are all that a newcomer needs: both fetch the real
# servers they run on by themselves (no root, nothing installed system-wide).
SHELL   := /bin/bash
GO      ?= go
BIN     := .bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LINT    := $(BIN)/golangci-lint
LINT_VERSION := v2.15.0
SOURCES := $(shell find cmd internal bench -name '*.go' -o -name '*.html' 2>/dev/null) go.mod go.sum

.PHONY: all build check format lint vet test race servers demo fault race-fault matrix fuzz bench bench-short clean

all: build

build: $(BIN)/godwit

$(BIN)/godwit: $(SOURCES)
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/godwit

# The same program with failpoints: it kills itself where $GODWIT_KILL_AT says.
$(BIN)/godwit-failpoint: $(SOURCES)
	$(GO) build -tags failpoint -o $@ ./cmd/godwit

servers: ; @scripts/get-servers.sh

demo: build servers
	$(BIN)/godwit demo

# Everything that must hold, on a machine with nothing but Go. The packages that
# take longest come first, and there is work for others while one waits for servers.
# The race detector takes several times the processor: here it watches some, and all of
# them in make race and make race-fault.
RACED := ./internal/relay ./internal/cutover ./internal/faultproxy ./internal/psync ./internal/spool
LONGEST := ./internal/migrate ./internal/verify ./internal/apply ./internal/command ./cmd/godwit
test: vet format servers
	$(GO) test -race -shuffle=on -timeout 9m -p 2 $(RACED)
	$(GO) test -shuffle=on -timeout 9m -p 3 $(LONGEST) $$($(GO) list ./... | grep -vxF "$$($(GO) list $(RACED))")

race: servers
	$(GO) test -race -shuffle=on -timeout 30m -p 2 ./...

check: lint test

format:
	@unformatted=$$(gofmt -l cmd internal bench 2>/dev/null); [ -z "$$unformatted" ] || { echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; }

# With every tag: go test vets what is built without, and lint all of it.
vet:
	$(GO) vet -tags failpoint,fault,matrix ./...

lint: $(LINT)
	$(LINT) run ./...

$(LINT):
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

# Kill points, killed servers, cut and stalled links: the tables of faults in full, then
# the program itself. make test runs a few rows of each, make race-fault all with the race
# detector, which takes three times as long.
FAULTS := ./internal/rdb ./internal/relay ./internal/apply ./internal/migrate ./internal/verify ./test/fault
fault: servers
	$(GO) test -tags fault -timeout 90m -count=1 -v $(FAULTS)

race-fault: servers
	$(GO) test -tags fault -race -timeout 180m -count=1 -v $(FAULTS)

# Every ordered pair of the servers, there and back; writes docs/compatibility.md.
# make test runs a few pairs in short.
SEED ?= 1
matrix: servers
	$(GO) test -tags matrix -timeout 60m -count=1 ./test/matrix -args -seed $(SEED)

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 60s
fuzz:
	@set -e; grep -rhoE --include='*_test.go' -H '^func Fuzz[A-Za-z0-9_]*' internal | sed 's|^\(.*\)/[^/]*:func |./\1 |' | while read -r p f; do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$p" < /dev/null; done

# Side by side with native replication, medians; writes the table of docs/benchmarks.md.
bench: build servers
	$(GO) run ./bench -godwit $(BIN)/godwit

bench-short: build servers
	$(GO) run ./bench -godwit $(BIN)/godwit -short

clean:
	rm -rf $(BIN)
