# Everything a person or CI runs. The first run makes .venv and installs into it; later runs reuse it.

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
LOCKED := --constraint constraints.txt
NATIVE := $(wildcard CMakeLists.txt sampling/kernels/csrc/*)

.PHONY: help demo test nightly load faults soak check sanitize format bench serve clean
.PHONY: image image-test pin up down lock audit sbom wheels

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## run the whole job on handwritten digits: ingest, train, embed, serve, ask
	$(BIN)/gnn demo

test: $(VENV)/test-tools ## run all tests (GNN_TEST_DATA=FOLDER adds those on public data sets)
	@scripts/test-programs.sh
	$(BIN)/pytest

nightly: $(VENV)/test-tools ## run the long tests: faults, fuzzing, load
	@scripts/test-programs.sh
	$(BIN)/pytest -m nightly --timeout 3600

load: $(VENV)/test-tools ## five minutes of mixed load on a server of its own (ARGS="--minutes 30 --rate 150")
	$(BIN)/python load_tests $(ARGS)

faults: $(VENV)/test-tools ## load, kill, fill and damage everything; writes docs/reliability.md (four hours)
	@scripts/test-programs.sh
	PYTHONPATH=tests $(BIN)/python -m faults --write $(ARGS)

soak: $(VENV)/test-tools ## half an hour at half load: what grows? writes docs/soak.svg (ARGS="--minutes 240")
	PYTHONPATH=tests $(BIN)/python -m faults.soak --out docs/soak.svg $(ARGS)

check: $(VENV)/check-tools $(VENV)/release-tools ## lint, formatting, types; known vulnerabilities where the index answers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	scripts/audit.sh $(BIN)/pip-audit --if-answered

sanitize: $(VENV)/native-tools ## run the kernels' tests under the address, undefined and thread sanitizers
	scripts/sanitize.sh $(BIN)/python

format: $(VENV)/check-tools ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/installed ## measure everything beside installed peers
	for work in sampling gather spmm loader embed ingest; do $(BIN)/gnn bench $$work || exit; done

serve: $(VENV)/installed ## serve the demo's graph and model (or GRAPH=… MODELS=…) on port 8000
	@test -n "$(GRAPH)" -o -d demo || $(BIN)/gnn demo --keep demo
	$(BIN)/gnn serve --graph $(or $(GRAPH),demo/graph) --models $(or $(MODELS),demo/models)

image: ## build the container image (TARGET=cpu, cuda or load; scripts/image.sh has the rest)
	scripts/image.sh $(or $(TARGET),cpu)

image-test: image ## build the image, run it confined and as nobody, and call its endpoints
	scripts/image-test.sh $(or $(IMAGE),gnn-service:$(or $(TARGET),cpu))

up: ## start service, worker, Redis, Prometheus and Grafana on this machine
	docker compose up --build --detach --wait

down: ## stop what `make up` started; the data stays
	docker compose down

sbom: ## list what the image holds (CycloneDX) in build/sbom.json
	scripts/sbom.sh $(or $(IMAGE),gnn-service:cpu) build/sbom.json

pin: ## write the digests of base images and torch's hash into docker/pins.env (needs the network)
	python3 scripts/pin.py docker/pins.env

lock: $(VENV)/release-tools ## resolve the newest allowed versions into the lock files
	UV=$(BIN)/uv TORCH=$(TORCH) scripts/lock.sh

audit: $(VENV)/release-tools ## ask for known vulnerabilities of what is locked (needs the network)
	scripts/audit.sh $(BIN)/pip-audit

wheels: $(VENV)/release-tools ## build a wheel for every Python from 3.11 on that is found, in dist/
	scripts/wheels.sh $(BIN)

clean: ## remove the environment, builds, caches and the demo's files
	rm -rf $(VENV) build dist demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find sampling gnn service tests -name __pycache__ -prune -exec rm -rf {} +

# An installation is editable: Python sources are used in place, so only a changed build or a
# changed dependency list installs again.
$(VENV)/installed: $(VENV)/torch pyproject.toml constraints.txt $(NATIVE)
	$(BIN)/pip install --quiet $(LOCKED) --editable .
	@touch $@

$(VENV)/test-tools: $(VENV)/installed
	$(BIN)/pip install --quiet $(LOCKED) --group test
	@touch $@

$(VENV)/check-tools: $(VENV)/test-tools
	$(BIN)/pip install --quiet $(LOCKED) --group lint
	@touch $@

$(VENV)/release-tools: $(VENV)/bin/python
	$(BIN)/pip install --quiet $(LOCKED) --group release
	@touch $@

$(VENV)/native-tools: $(VENV)/test-tools
	$(BIN)/pip install --quiet $(LOCKED) --group native
	@touch $@

$(VENV)/torch: $(VENV)/bin/python
	$(BIN)/pip install --quiet $(TORCH)
	@touch $@

$(VENV)/bin/python:
	"$$(scripts/find-python.sh)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
