# make serve    two servers, ns1 and ns2, from zones/ and geo-db/
# make test     all tests but those of make test-acme and make test-containers
# make test-acme  certbot and lego get certificates: takes certbot, lego, pebble, unbound, and a minute
# make test-containers  deploy/ run for real: takes a Docker engine, debootstrap, and some minutes
# make agree    20,000 cases (AGREE_CASES) of the tests that the engines agree, half an hour
# make soak     everything at once for ten minutes with each engine (SOAK_SECONDS): load, reloads, health
#               flaps, reports, writes over HTTP, log rotation
# make lint     ruff and mypy; cargo fmt and clippy
# make native   build the native engine again; it is built with everything else where there is a Rust toolchain
# make bench    beside the nameservers that are installed; writes benchmarks/RESULTS.md
# make fuzz     longer: the native engine by random packets, the others with atheris, the HTTP API with schemathesis
#               (FUZZ_SECONDS, 300 each)

# A Python that geodns runs on: the first of these that is 3.11 to 3.13.
PYTHONS = python3 python3.13 python3.12 python3.11
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in $(PYTHONS); do $$python -c '$(FITS)' 2>/dev/null && echo $$python && break; done)

VENV = .venv
RUN = $(VENV)/bin/python
FUZZ_SECONDS ?= 300

# The tests start hundreds of processes: each would compile all of geodns again where this is set.
unexport PYTHONDONTWRITEBYTECODE

AGREE_CASES ?= 20000
NATIVE = native/Cargo.toml
NATIVE_SOURCES = $(wildcard $(NATIVE) native/Cargo.lock native/src/*.rs)
HAS_CARGO = command -v cargo >/dev/null

SOAK_SECONDS ?= 600

.PHONY: serve test test-acme test-containers agree soak lint native bench fuzz clean

serve: $(VENV)/native
	@$(RUN) scripts/serve_two.py

test: $(VENV)/installed-dev $(VENV)/native
	@if $(HAS_CARGO); then cargo test --quiet --locked --no-default-features --manifest-path $(NATIVE); fi
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-acme: $(VENV)/installed-dev $(VENV)/native
	$(RUN) -m pytest tests/acme/clients $(PYTEST)

test-containers: $(VENV)/installed-containers
	$(RUN) -m pytest -rs tests/deploy/containers $(PYTEST)

agree: $(VENV)/installed-dev $(VENV)/native
	AGREE_CASES=$(AGREE_CASES) AGREE_SECONDS=7200 $(RUN) -m pytest tests/test_engines_agree.py $(PYTEST)

soak: $(VENV)/installed-dev $(VENV)/native
	SOAK_SECONDS=$(SOAK_SECONDS) $(RUN) -m pytest -s tests/server/test_soak.py $(PYTEST)

lint: $(VENV)/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	@if $(HAS_CARGO); then \
	    cargo fmt --check --manifest-path $(NATIVE) && \
	    cargo clippy --quiet --locked --all-targets --manifest-path $(NATIVE) -- -D warnings; \
	fi

bench: $(VENV)/installed-dev
	@command -v cargo >/dev/null || { echo "make bench needs cargo, for the load generator" >&2; exit 1; }
	cargo build --release --quiet --locked --manifest-path benchmarks/load/Cargo.toml
	$(RUN) benchmarks/run.py $(BENCH)

fuzz: $(VENV)/installed-fuzz $(VENV)/native
	@if $(HAS_CARGO); then \
	    FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --quiet --locked --no-default-features --manifest-path $(NATIVE) --test packets; \
	fi
	$(RUN) -m tests.fuzz.packets -max_total_time=$(FUZZ_SECONDS)
	$(RUN) -m tests.fuzz.zones -max_total_time=$(FUZZ_SECONDS)
	$(RUN) -m tests.fuzz.api $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) geodns/_native.*.so native/target build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

native:
	@rm -f $(VENV)/native
	@$(MAKE) --no-print-directory $(VENV)/native

# The environment is made anew when pyproject.toml changes, and only then.
$(VENV)/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "geodns needs Python 3.11, 3.12 or 3.13 (make PYTHON=/where/it/is)" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON): once, a minute at most"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $(VENV)/native $@

# What pip has built, built again when the sources change. Without it the Python engine serves.
$(VENV)/native: $(NATIVE_SOURCES) | $(VENV)/installed
	@if $(HAS_CARGO); then \
	    cargo build --release --quiet --locked --manifest-path $(NATIVE) && \
	    install native/target/release/lib_native.so geodns/_native.abi3.so; \
	fi || echo "the native engine could not be built" >&2
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "installing what the tests need"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/installed-containers: $(VENV)/installed-dev
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev,containers]'
	@touch $@

$(VENV)/installed-fuzz: $(VENV)/installed-dev
	@$(RUN) -m pip install --quiet --disable-pip-version-check atheris
	@touch $@
