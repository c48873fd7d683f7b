# tusd-py: `make serve` is all that is needed to run it, `make test` to work on it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

SYSTEM_PYTHON ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed
LOCK := $(PYTHON) -m uv pip compile pyproject.toml --group backend --universal --generate-hashes \
	--python-version 3.11 --default-index https://pypi.org/simple --no-header --no-annotate --quiet

# Without its cache each start of a server would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

ARGS ?=
ROUNDS ?= 20
NPM ?= npm
PAGE := examples/uppy

.PHONY: help install develop serve test test-slow test-processes check format lock wheel bench crash strace root send-large browser example clean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED)  ## build .venv with what the server needs, from requirements.lock

develop: $(DEVELOPED)  ## add what tests and checks need, from requirements-dev.lock

serve: $(INSTALLED)  ## start the server on 127.0.0.1:1080, data in ./data (ARGS="--port 8080" for more)
	@exec $(VENV)/bin/tusd-py serve $(ARGS)

test: $(DEVELOPED)  ## the fast suite
	$(PYTHON) -m pytest -n 2 -m "not slow and not strace and not root and not browser" $(ARGS)

test-slow: $(DEVELOPED)  ## what takes longer
	$(PYTHON) -m pytest -n 2 -m slow $(ARGS)
	$(if $(ARGS),,$(MAKE) test-processes)

test-processes: $(DEVELOPED)  ## the tests that start servers again, with three processes each
	TUSD_TEST_PROCESSES=3 $(PYTHON) -m pytest -n 2 -m "not slow and not strace and not root and not browser" \
		tests/acceptance tests/operations $(ARGS)

check: $(DEVELOPED)  ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(DEVELOPED)  ## format the code and mend what ruff can mend
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: $(DEVELOPED)  ## write both locks again, with the newest versions that fit
	$(LOCK) --upgrade --output-file requirements.lock
	$(LOCK) --upgrade --extra dev --constraint requirements.lock --output-file requirements-dev.lock

wheel: $(DEVELOPED)  ## build the wheel, install it elsewhere and serve one upload from there
	$(PYTHON) .ci/wheel.py

bench: $(DEVELOPED)  ## compare with other servers, side by side
	$(PYTHON) -m bench $(ARGS)

crash: $(DEVELOPED)  ## kill -9 under six writers, ROUNDS times
	$(PYTHON) -m tests.proof.crash --rounds $(ROUNDS) $(ARGS)

strace: $(DEVELOPED)  ## kill and fail at every system call that matters (needs strace)
	$(PYTHON) -m pytest -n 2 -m strace $(ARGS)

root: $(DEVELOPED)  ## real disks that are full or read-only, ordinary users (needs to be root)
	$(PYTHON) -m pytest -n 2 -m root $(ARGS)

send-large: $(DEVELOPED)  ## send a file of 5 GiB through a network that is cut every 50 MiB (10 GiB of disk)
	LARGE_FILE_MIB=5120 $(PYTHON) -m pytest -m slow tests/client/test_send.py -k "large_file and plain" $(ARGS)

browser: $(DEVELOPED)  ## the example page in headless Chromium (needs chromium and chromium-driver)
	$(PYTHON) -m pytest -m browser $(ARGS)

example: $(PAGE)/dist/page.js  ## build the page that uploads, and serve it on port 8000 (needs Node 22)
	@echo "Open http://127.0.0.1:$(or $(ARGS),8000)/ in a browser. It uploads to the server that \`make serve\` starts."
	@exec $(SYSTEM_PYTHON) -m http.server $(or $(ARGS),8000) --bind 127.0.0.1 --directory $(PAGE)/dist

clean:  ## remove what was built; data stays
	rm -rf $(VENV) build dist $(PAGE)/dist $(PAGE)/node_modules *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(PYTHON):
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tusd-py needs Python 3.11 or newer; name one by: make SYSTEM_PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(SYSTEM_PYTHON) -c 'import ensurepip, venv' 2>/dev/null && $(SYSTEM_PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python cannot make a virtual environment here; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# The stamps say that .venv holds what the locks say, so that a second `make install` costs nothing.
$(INSTALLED): requirements.lock pyproject.toml | $(PYTHON)
	$(PIP_INSTALL) --require-hashes --requirement requirements.lock
	$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

$(DEVELOPED): requirements-dev.lock $(INSTALLED)
	$(PIP_INSTALL) --require-hashes --requirement requirements-dev.lock
	@touch $@

$(PAGE)/node_modules/.package-lock.json: $(PAGE)/package-lock.json
	@command -v $(NPM) >/dev/null || { echo "the page is built by Node 22 or newer: https://nodejs.org/" >&2; exit 1; }
	cd $(PAGE) && $(NPM) ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(PAGE)/dist/page.js: $(PAGE)/node_modules/.package-lock.json $(wildcard $(PAGE)/*.js $(PAGE)/*.css $(PAGE)/*.html)
	cd $(PAGE) && $(NPM) run build
