# make demo and make test do everything on a fresh machine that has Go.

.DEFAULT_GOAL := help
.PHONY: help build test demo parts format vet unit conformance soak bench clean go

export CGO_ENABLED ?= 0

VERSION ?= $(or $(shell git describe --tags --dirty 2>/dev/null),dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# The oldest Go that can build this, as go.mod says.
GO_NEEDED := $(shell sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

build: go ## the static binary bin/airlift
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/airlift ./cmd/airlift

demo: build ## carry a small release from one registry to another, without a network
	go run ./cmd/demo

test: go parts format vet unit conformance ## everything that has to hold

parts: ## install the registry and the tools that the tests use
	@sh testdata/parts.sh

format: go
	@bad=$$(gofmt -l .); [ -z "$$bad" ] || { echo "not formatted, run gofmt -w:" $$bad >&2; exit 1; }

vet: go
	go vet ./...
	cd testdata/conformance && CGO_ENABLED=0 go vet -tags soak ./...

unit: go ## the tests of the packages
	go test -timeout 30m ./...

# Without cgo: the old and the new home of one library are both linked.
conformance: go ## what OpenShift's own code makes of what airlift writes
	cd testdata/conformance && CGO_ENABLED=0 go test ./...

soak: export AIRLIFT_SOAK = 1
soak: go parts ## the tests of survival at length, for hours; docs/reliability.md says what came of it
	cd testdata/conformance && CGO_ENABLED=0 go test -tags soak -count=1 -timeout 1h -v -run TestAPIServer .
	go test -count=1 -timeout 12h -v ./bundle ./cmd/airlift

bench: build parts ## measure beside peers and a floor, for half an hour, and write docs/benchmarks.md
	go run ./cmd/bench -report docs/benchmarks.md

clean: ## remove what was built
	rm -rf bin

# Says in one line what is missing. Go itself fetches a newer Go where it may.
go:
	@command -v go >/dev/null || { echo "Go is not installed: airlift needs Go $(GO_NEEDED) or newer" >&2; exit 1; }
	@have=$$(go env GOVERSION) && \
	printf '%s\n' "go$(GO_NEEDED)" "$$have" | sort -V -C || \
	{ echo "$$have is too old: airlift needs Go $(GO_NEEDED) or newer" >&2; exit 1; }
