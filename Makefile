# Every target makes .venv first when it is missing; `make .venv` alone installs all a developer needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: .venv quickstart test lint typecheck peers ladder training-peers clean

.venv: .venv/installed

# The stamp comes last, so that an interrupted installation starts over.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/installed

quickstart: .venv
	$(BIN)/mrl-edge quickstart

test: .venv
	$(BIN)/python -m pytest

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The installed package is what gets checked: mypy cannot see through an editable install's import hook.
typecheck: .venv
	rm -rf build
	$(BIN)/pip install --quiet --no-deps --target build/site .
	MYPYPATH=build/site $(BIN)/mypy -p mrl_edge

peers: .venv
	$(BIN)/python bench/peers/compare.py

ladder: .venv
	$(BIN)/python bench/peers/ladder.py

training-peers: .venv
	$(BIN)/python bench/peers/training.py

clean:
	rm -rf build .venv quickstart *.egg-info
