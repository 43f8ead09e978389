# make demo | test | check | bench, each on a machine with nothing but Python >= 3.11 and make
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   ?= .venv
# an environment that forbids it has each of our many processes compile every module of ours anew
unexport PYTHONDONTWRITEBYTECODE
BIN    := $(VENV)/bin

# $(call stage,name,arguments of pytest): the tests, without the slow proofs; then how long the stage took
define stage
@begun=$$(date +%s); $(BIN)/pytest -m "not slow" --durations=25 --junitxml=build/tests/$(1).xml $(2); code=$$?; \
    echo "stage $(1): $$(($$(date +%s) - begun)) s"; exit $$code
endef

# fresh examples at each call
FUZZED = --hypothesis-profile fuzz --hypothesis-seed $$(date +%s)

.PHONY: demo test test-unit test-integration test-e2e test-all flaky fuzz simulate kernels check bench bench-streaming bench-serving bench-scale train docs constraints clean

demo: $(VENV)/.installed-local ## run the main job: 1,000 members, a month of events, scores and a premium
	$(BIN)/vitanexus demo

test: test-unit test-integration test-e2e ## the whole test suite, slow proofs small

test-unit: $(VENV)/.installed-dev ## unit and reference tests, over every core
	$(call stage,unit,tests/unit tests/reference tests/simulator tests/fuzz -n auto --dist worksteal)

test-integration: $(VENV)/.installed-dev ## real PostgreSQL, real broker, real Ray; the broker's tests beside the others
	$(call stage,integration,tests/integration -n 2 --dist loadgroup)

test-e2e: $(VENV)/.installed-dev ## the whole stack as a user starts it: alone on the machine
	$(call stage,e2e,tests/e2e)

kernels: $(VENV)/.installed-dev ## have numba compile, once, for every process that follows
	$(BIN)/python -m tests.warm & warm=$$!; $(BIN)/python -m tests.warm_hcc; for kind in reserve premium ibnr; do \
	    $(BIN)/vitanexus simulate configs/scenarios/$$kind.yaml --paths 1000 --out build/kernels/$$kind \
	    || [ $$? = 2 ] || exit 1; done; wait $$warm

test-all: $(VENV)/.installed-dev ## every test, the slow proofs whole
	$(BIN)/pytest

flaky: $(VENV)/.installed-dev ## N rounds of the integration and e2e tests in random order, under load; a table of failures
	$(BIN)/python -m tests.flaky --rounds $(or $(N),10)

fuzz: $(VENV)/.installed-dev ## files, scenarios, requests and payloads broken at random for MINUTES (10); stops at the first fault
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[local,ops,dev,fuzz]'
	end=$$(($$(date +%s) + 60 * $(or $(MINUTES),10))); while [ $$(date +%s) -lt $$end ]; do \
	    $(BIN)/pytest -x -q $(FUZZED) -n auto tests/fuzz tests/unit/streams/test_codec.py \
	        tests/unit/streams/test_readings.py tests/unit/serve_apps/test_hot.py \
	    && $(BIN)/pytest -x -q $(FUZZED) tests/e2e/test_odd_requests.py && $(BIN)/python -m tests.fuzz.guided || exit 1; done

simulate: $(VENV)/.installed-dev ## a thousand seeded schedules of crashes, freezes, lost connections and moves
	$(BIN)/python -m tests.simulator --seeds 1000

check: $(VENV)/.installed-dev ## lint, format, types, import rule, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/vitanexus docs --check

bench: $(VENV)/.installed-dev ## the benchmarks; writes benchmarks/results/
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[local,ops,dev,peers]'
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.hcc
	$(BIN)/python -m benchmarks.scoring
	$(BIN)/python -m benchmarks.simulation

bench-streaming: $(VENV)/.installed-dev ## a shard on a real Kafka (Java 17, Maven) beside confluent-kafka, Quix Streams, Bytewax
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[local,ops,dev,peers]'
	$(BIN)/python -m benchmarks.streaming

bench-serving: $(VENV)/.installed-dev ## the endpoints beside bare uvicorn, default Serve, LitServe, BentoML; needs wrk (apt)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[local,dev,peers]'
	$(BIN)/python -m benchmarks.serving

bench-scale: $(VENV)/.installed-dev ## 1,000 to 10,000,000 members: state, scoring, snapshots, reserve (16 GB, a quarter of an hour)
	$(BIN)/vitanexus bench scale --members 1000 --members 100000 --members 1000000 --members 10000000 --out benchmarks/results/scale.md

train: $(VENV)/.installed-dev ## fit the base-risk model on MEPS (DATA=directory with meps_2012.parquet, meps_2013.parquet)
	$(BIN)/vitanexus train base-risk --data $(DATA) --version 3

docs: $(VENV)/.installed-dev ## write the pages of docs/ that derive from declarations
	$(BIN)/vitanexus docs

constraints: | $(VENV)/bin/uv ## pin what the ranges of pyproject.toml resolve to today
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	    --no-emit-index-url --no-header --no-annotate -o constraints.txt

$(VENV)/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt uv

$(VENV)/.installed-local: pyproject.toml constraints.txt | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[local]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[local,ops,dev]'
	touch $@ $(VENV)/.installed-local

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
