# `make demo` and `make test` do all their own set-up; they need Python >= 3.10 (with venv) and make, and nothing else.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# A registry may fail for a moment: a minute of retries.
INSTALL := $(BIN)/python -m pip --retries 8 install --quiet

# What Python and pytest have compiled is kept for the other workers and the next run.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-browser test-clients test-credentials test-service test-faults test-cache test-shared-cache fuzz lint bench clean

help:
	@echo "make demo    an install with pip and uv through ppmproxy, from an embedded Package Manager"
	@echo "make test    the tests, with real pip and uv"
	@echo "make test-browser  a real Chromium (which must be installed): web pages that try to use the proxy, and its own page; PYTEST_ARGS=--write-pictures renews README's pictures"
	@echo "make test-clients  Poetry, PDM, Hatch, pipenv, twine, flit, maturin, pipx, pex, R, renv ...; PYTEST_ARGS=--write-table renews the table in ppmproxy/clients/README.md, PPMPROXY_INSTALLS=600 installs that often in a row"
	@echo "make test-credentials  what needs minutes or services: real clients that wait for a sign-in, a real keyring, canaries"
	@echo "make test-service  ppmproxy in a real systemd --user, Docker engine, podman and Prometheus; the commands of README.md, systemd/ and docker/ (as root, Linux)"
	@echo "make test-faults  pip and uv against a faulty upstream: through ppmproxy, directly, through nginx (Linux)"
	@echo "make test-cache  the cache with a faulty upstream, a faulty disk, killed processes; prints a table (Linux, as root)"
	@echo "make test-shared-cache  two machines and one bucket: moto, the Ceph RADOS gateway, rclone, Azurite, and storage that fails; replicas behind nginx (Linux, as root)"
	@echo "make fuzz    200 000 hostile requests, and 20 000 hostile responses; FUZZ=... says how many"
	@echo "make lint    ruff, mypy, and which room may import which"
	@echo "make bench   speed and memory, as ratios against nginx (which must be installed, on Debian with libnginx-mod-stream)"
	@echo "make clean   remove everything that these made"

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python >= 3.10 found; install one, or say make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV) || { echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 2; }
	$(INSTALL) --upgrade pip
	$(INSTALL) --editable . uv
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(INSTALL) --group test
	@touch $@

# By themselves: tests and benchmarks run with what a person has.
$(VENV)/.linted: $(VENV)/.developed
	$(INSTALL) --group lint
	@touch $@

$(VENV)/.with-browser: $(VENV)/.developed
	$(INSTALL) --group browser
	@touch $@

$(VENV)/.with-shared-cache: $(VENV)/.developed
	$(INSTALL) --editable '.[shared-cache]' --group shared-cache
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/ppmproxy demo

test: $(VENV)/.developed
	$(BIN)/python -m pytest -n 6 --dist worksteal $(PYTEST_ARGS)

test-browser: $(VENV)/.with-browser
	$(BIN)/python -m pytest -n 2 tests/real/browser $(PYTEST_ARGS)
	PPMPROXY_PAGE_LOOKS=1600 $(BIN)/python -m pytest tests/server/admin/test_live_feed.py -k for_an_hour

test-clients: $(VENV)/.developed
	$(BIN)/python -m pytest -n 2 tests/real/clients $(PYTEST_ARGS)

test-credentials: $(VENV)/.developed
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/real/credentials

test-service: $(VENV)/.developed
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/real/service $(PYTEST_ARGS)

test-faults: $(VENV)/.developed
	$(BIN)/python -m pytest tests/faults $(PYTEST_ARGS)

test-cache: $(VENV)/.developed
	$(BIN)/python -m pytest tests/cache_faults $(PYTEST_ARGS)
	PPMPROXY_ORDERS=400 $(BIN)/python -m pytest tests/cache/test_rights_in_any_order.py

test-shared-cache: $(VENV)/.with-shared-cache
	$(BIN)/python -m pytest tests/real/shared_cache $(PYTEST_ARGS)

fuzz: $(VENV)/.developed
	PPMPROXY_FUZZ_EXAMPLES=$(or $(FUZZ),200000) $(BIN)/python -m pytest tests/server/test_hostile_requests.py
	PPMPROXY_FUZZ_EXAMPLES=$(or $(FUZZ),20000) $(BIN)/python -m pytest tests/server/test_hostile_upstream.py

lint: $(VENV)/.linted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin
	$(BIN)/mypy --platform win32

bench: $(VENV)/.developed
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find ppmproxy tests -name __pycache__ -prune -exec rm -rf {} +
