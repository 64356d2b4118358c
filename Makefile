# Every target makes .venv first when it is missing; `make .venv` alone installs all a developer needs.
PYTHON ?= python3
BIN := .venv/bin
CHROMIUM ?= chromium

.PHONY: .venv quickstart test test-slow test-deploy test-arm64 test-gpu browser browser-tools lint typecheck peers ladder training-peers export-peers harness roofline levers loadgen search-peers storages forecast narrowing shipping docs tutorial clean

.venv: .venv/installed

# The stamp comes last, so that an interrupted installation starts over.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/installed

quickstart: .venv
	$(BIN)/mrl-edge quickstart

# A process a core, each with one thread; `.venv/bin/python -m pytest tests/…` runs single tests without them.
test: .venv
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# What `make test` tests on less, in full: the whole quickstart on its own data, all six layers of MiniLM and every
# family of encoders in every precision.
test-slow: .venv
	$(BIN)/python -m pytest -m slow --numprocesses auto --dist worksteal

# The graphs in Node and in Chromium, and the report in Chromium (or `make browser CHROMIUM=google-chrome`), beside Python.
browser: browser-tools tests/browser/node_modules/.package-lock.json .venv
	CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest -m browser tests/browser

# A bundle brought to an sshd on this machine, without internet there; it needs openssh-server and g++.
test-deploy: .venv
	$(BIN)/python -m pytest -m deploy tests/devices

# An arm64 userland under build/arm64, emulated, as a board without internet; root makes and enters it.
test-arm64: .venv
	$(BIN)/python -m pytest -m arm64 -s tests/devices/test_arm64.py

# On a GPU of NVIDIA's, with onnxruntime-gpu in onnxruntime's place (docs/devices.md says how); skipped without.
test-gpu: .venv
	$(BIN)/python -m pytest -m gpu -rs tests/test_gpu.py

browser-tools:
	@for tool in node npm "$(CHROMIUM)"; do command -v "$$tool" >/dev/null || { \
	  echo "make browser needs node (20 or newer), npm and chromium: $$tool is missing" >&2; exit 1; }; done

tests/browser/node_modules/.package-lock.json: tests/browser/package.json tests/browser/package-lock.json
	cd tests/browser && npm ci --no-audit --no-fund
	touch $@

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The installed package is what gets checked: mypy cannot see through an editable install's import hook.
typecheck: .venv
	rm -rf build/site build/lib build/bdist*
	$(BIN)/pip install --quiet --no-deps --target build/site .
	MYPYPATH=build/site $(BIN)/mypy -p mrl_edge

PEERS := $(patsubst bench/peers/requirements/%.txt,build/peers/%/installed,$(wildcard bench/peers/requirements/*.txt))

peers: .venv $(PEERS)
	$(BIN)/python bench/peers/compare.py

# Each peer in an environment of its own. One that cannot be installed is a line of the table, with pip's last word.
build/peers/%/installed: bench/peers/requirements/%.txt
	$(PYTHON) -m venv --clear build/peers/$*
	-build/peers/$*/bin/pip install --quiet --disable-pip-version-check --requirement $< 2>build/peers/$*/pip.txt && touch $@

ladder: .venv
	$(BIN)/python bench/peers/ladder.py

training-peers: .venv
	$(BIN)/python bench/peers/training.py

export-peers: .venv
	$(BIN)/python bench/peers/exporting.py

# ITEMS=1000000 VECTORS=int8-int6 for a million; it needs the folder of `make quickstart`, or FOLDER=another.
ITEMS ?= 100000
FOLDER ?= quickstart
VECTORS ?= int8-int4
SEARCH_PEERS := $(patsubst bench/peers/requirements/%.txt,build/peers/%/installed,$(wildcard bench/peers/requirements/search/*.txt))

search-peers: .venv $(SEARCH_PEERS)
	$(BIN)/python bench/peers/searching.py --items $(ITEMS) --folder $(FOLDER) --vectors $(VECTORS)

# What each way of storing vectors keeps of the exact hits.
storages: .venv
	$(BIN)/python bench/peers/storages.py --items $(ITEMS) --folder $(FOLDER)

roofline: .venv
	$(BIN)/python bench/peers/roofline.py --folder $(FOLDER)

levers: .venv
	$(BIN)/python bench/peers/levers.py --folder $(FOLDER)

harness: .venv
	$(BIN)/python bench/peers/harness.py

# In an environment of its own, with what a device needs and MLPerf's LoadGen beside it.
loadgen: build/loadgen/installed
	build/loadgen/bin/pip install --quiet --no-deps --force-reinstall .
	build/loadgen/bin/python bench/peers/loadgen.py

build/loadgen/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear build/loadgen
	build/loadgen/bin/pip install --quiet --constraint constraints.txt mlcommons-loadgen .
	touch $@

# Predictions for corpora of other sizes, each measured size foretold from the others; minutes.
forecast: .venv
	$(BIN)/python bench/peers/forecasting.py --folder $(FOLDER)

# `mrl-edge tune` beside the whole sweep, about 10 minutes: the same choice in a third of the time, or exit 1.
narrowing: .venv
	$(BIN)/python bench/peers/narrowing.py --folder $(FOLDER)

# The tight pick with 20,000 documents, shipped and started in a fresh environment; exit 1 above 30 MB or 500 ms.
shipping: .venv
	$(BIN)/python bench/peers/shipping.py --folder $(FOLDER)

# The site, under build/docs; a broken link, anchor or reference fails it.
docs: .venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Every command of docs/tutorial.md, as it stands there, under build/tutorial; minutes.
tutorial: .venv
	$(BIN)/python docs/run_tutorial.py --folder build/tutorial

clean:
	rm -rf build .venv quickstart *.egg-info tests/browser/node_modules
