# `make demo` shows the whole; `make test` proves it. Both set up what is missing first.
# Standard output belongs to the command that runs: set-up speaks on standard error.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.set-up

# make demo SOURCE=folder JSON=1 KEEP=1
SOURCE ?=
JSON   ?=
KEEP   ?=
# make test ARGS="-k lease"
ARGS   ?=
WORKERS ?= 2
# make test-failures SHORT=1, REPEAT=20 ARGS="-k t12", EVERYTHING=1
SHORT      ?=
REPEAT     ?= 1
EVERYTHING ?=
# More than cores: these tests wait for leases, heartbeats and restarts most of the time.
FAILURE_WORKERS ?= 4
# make soak MINUTES=30
MINUTES ?= 30
# make prove-restore SEEDS=200
SEEDS ?= 20
# make bench QUICK=1 ROUNDS=5 ONLY=a,c PEERS=folder SOURCE=folder PROFILE=1
QUICK  ?=
ROUNDS ?=
ONLY   ?=
PEERS  ?=
PROFILE ?=

MAKEFLAGS += --no-print-directory --silent
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-failures prove-restore prove-walls soak check fmt fmt-check types imports security audit sbom fidelity bench lock clean

help: ## Show this list
	awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## Start everything, run the main job once and show it (SOURCE=folder JSON=1 KEEP=1)
	$(BIN)/python -m cli.stack install >&2
	$(BIN)/reinstate demo $(if $(SOURCE),--source "$(SOURCE)") $(if $(JSON),--json) $(if $(KEEP),--keep)

test: $(STAMP) ## Run the tests on real servers (ARGS="-k lease", WORKERS=0 for one process)
	$(BIN)/python -m cli.stack install >&2
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(ARGS)

test-failures: $(STAMP) ## Inject failures into real processes (SHORT=1 REPEAT=20 EVERYTHING=1 ARGS="-k t12")
	$(BIN)/python -m cli.stack install >&2
	REINSTATE_TEST_SHORT=$(SHORT) REINSTATE_TEST_REPEAT=$(REPEAT) REINSTATE_TEST_EVERYTHING=$(EVERYTHING) \
	  $(BIN)/python -m pytest -m failures -n $(FAILURE_WORKERS) --dist loadscope --no-loadscope-reorder \
	  tests/failures $(ARGS)

prove-restore: $(STAMP) ## Restore and undo at random, judged by the target's own state (SEEDS=200 ARGS="-k undo")
	$(BIN)/python -m cli.stack install >&2
	REINSTATE_PROOF_SEEDS=$(SEEDS) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/proofs $(ARGS)

prove-walls: $(STAMP) ## Try every wall: routes, tables, broker users, secrets, the audit trail (ARGS="-k broker")
	$(BIN)/python -m cli.stack install >&2
	REINSTATE_PROVE_WALLS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope tests/walls \
	  tests/integration/persistence/test_audit_trail.py tests/integration/dispatcher/test_signed_commands.py $(ARGS)

soak: $(STAMP) ## Mixed work with a random failure every 20 seconds (MINUTES=30)
	$(BIN)/python -m cli.stack install >&2
	REINSTATE_TEST_SOAK_MINUTES=$(MINUTES) $(BIN)/python -m pytest -m failures -s tests/failures/test_soak.py $(ARGS)

check: fmt-check types imports security ## Everything but the tests: format, lint, types, import rules, security

fmt: $(STAMP) ## Format the code and repair what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

fmt-check: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(STAMP) ## Check the types (mypy, strict)
	$(BIN)/mypy

imports: $(STAMP) ## Check who may import whom
	$(BIN)/lint-imports --no-logo

security: $(STAMP) ## Look for what is known to be dangerous in the code (bandit)
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive services shared cli simulator

audit: $(STAMP) ## Compare the pinned requirements with the published vulnerabilities (needs the network)
	$(BIN)/python -m cli.audit requirements.lock

sbom: $(STAMP) ## Write the bill of materials of the pinned requirements (build/sbom.cdx.json)
	mkdir -p build
	$(BIN)/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --output-format JSON \
	  --output-file build/sbom.cdx.json requirements.lock
	echo "build/sbom.cdx.json"

fidelity: $(STAMP) ## Compare the simulator with the documented behaviour of the real system
	$(BIN)/python -m simulator.fidelity

bench: $(STAMP) ## Measure, beside other job systems (QUICK=1 ROUNDS=5 ONLY=a,c PEERS=folder)
	$(BIN)/python -m cli.stack install >&2
	QUICK="$(QUICK)" ROUNDS="$(ROUNDS)" ONLY="$(ONLY)" PEERS="$(PEERS)" SOURCE="$(SOURCE)" \
	  PROFILE="$(PROFILE)" $(BIN)/python -m benchmarks

lock: $(STAMP) ## Write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --no-annotate --extra dev pyproject.toml -o requirements.lock

setup: $(STAMP) ## Create .venv with the pinned requirements, and install RabbitMQ where it is missing
	$(BIN)/python -m cli.stack install >&2

clean: ## Stop this checkout's servers; delete .venv and caches
	if [ -x $(BIN)/python ]; then $(BIN)/python -m cli.stack down >&2 || true; fi
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find cli services shared simulator tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is newer than the lock: nothing to do. A set-up that was interrupted has no stamp and starts again.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	echo "Setting up $(VENV) ..." >&2
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . >&2
	touch $(STAMP)
