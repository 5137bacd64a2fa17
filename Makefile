# The few commands a person needs. Anything else is plain cargo.

.PHONY: help run build release panel test soak fuzz deps test-deps benchmark clean clean-data

CARGO ?= cargo
VENV := .venv

help:
	@echo 'make run        build and start the gateway with demo upstreams and demo routes'
	@echo 'make test       install what the tests need, run all of them'
	@echo 'make soak       break everything around the gateway at length, and print a table (25 minutes)'
	@echo 'make fuzz       search for inputs that break a promise, a minute for each target'
	@echo 'make benchmark  compare with nginx, HAProxy, Envoy and bare Pingora on this machine'
	@echo 'make panel      build the control panel, which make run and make build do too where Node is there'
	@echo 'make build      the release binary: target/release/ws-cloud-gateway'
	@echo 'make release    the same, faster: trained on a load (PGO), twice the time: target/dist/ws-cloud-gateway'
	@echo 'make deps       install the system packages that compiling needs'
	@echo 'make clean-data forget what `make run` has stored;  make clean: everything built as well'

# Optimised, but linked in a fraction of the time a release takes.
run: deps
	@gateway/dashboard/build.sh
	$(CARGO) build --profile quick --bin ws-cloud-gateway
	@exec target/quick/ws-cloud-gateway run --demo -c etc/demo/gateway.yaml

build: deps
	@gateway/dashboard/build.sh
	$(CARGO) build --release --bin ws-cloud-gateway

# Installs an llvm-profdata and what the training needs; without them it is a plain release, and says so.
release: deps
	@gateway/dashboard/build.sh --required
	@CARGO='$(CARGO)' benchmark/pgo.sh

# The control panel, which the next build of the gateway takes in.
panel:
	@gateway/dashboard/build.sh --required

deps:
	@etc/install-deps.sh build

test-deps: $(VENV)/.ready
	@etc/install-deps.sh build test

$(VENV)/.ready: t/requirements.txt
	@etc/install-deps.sh test
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r t/requirements.txt
	@gateway/dashboard/build.sh --required || $(VENV)/bin/pip install --quiet --disable-pip-version-check -r t/requirements-node.txt
	@touch $@

test: test-deps
	@gateway/dashboard/build.sh --check
	@PANEL_REQUIRED=1 CARGO='$(CARGO)' t/run.sh

# SOAK_ONLY=etcd runs the faults with that in their names, SOAK_SCALE=0.1 makes them a tenth as long.
soak: test-deps
	$(CARGO) build --profile quick --bin ws-cloud-gateway
	SOAK=1 GATEWAY_BINARY=$(CURDIR)/target/quick/ws-cloud-gateway $(CARGO) test -q -p ws-cloud-gateway --test soak

# SECONDS=600 searches longer.
fuzz: test-deps
	t/fuzz/run.sh $(or $(SECONDS),60)

# ROUNDS=5 SECONDS_EACH=20 for figures to publish; see benchmark/README.md.
benchmark: deps
	@benchmark/run.sh

clean-data:
	rm -rf data logs

clean: clean-data
	$(CARGO) clean
	rm -rf $(VENV) gateway/dashboard/node_modules gateway/dashboard/dist/*
