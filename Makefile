# Every target makes what it needs in .venv first, and is quick the second time.
#   make PYTHON=/path/to/python3.12 …   where python3 is older than 3.11

BIN = .venv/bin
SETUP = PYTHON="$(PYTHON)" sh tools/setup_env.sh
LOCK = pyproject.toml constraints.txt tools/setup_env.sh
EXTRAS = --extra torch --extra s3 --extra azure --extra gcs --extra e2e --extra bench

.PHONY: help quickstart test check model faults crash soak e2e bench constraints clean

help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1	/p' Makefile

quickstart: .venv/.made-core ## the whole job on the bundled prompts; writes ./out/
	$(BIN)/routellm-batch run configs/quickstart.yaml

test: .venv/.made-test ## unit, contract, wheel and documentation tests; prints the ten slowest
	$(BIN)/python -m pytest --ignore=tests/e2e --ignore=tests/faults --numprocesses 2 --dist loadfile \
	  --durations=10 --durations-min=1

check: .venv/.made-test ## lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

model: .venv/.made-test ## the call stage in a simulated world of faults; MODEL_EXAMPLES=3000 for so many other ones
	$(BIN)/python -m pytest tests/model

faults: .venv/.made-test ## the fault matrix, a line per row; FAULTS="-k row_02" for some of it
	$(BIN)/python tests/faults $(FAULTS)

crash: .venv/.made-test ## a small job killed at each of its operations on storage, and gone on with
	$(BIN)/python -m pytest tests/faults/test_crash_points.py

soak: .venv/.made-test ## random kills in a storm for SOAK_MINUTES (20), and what was lost
	PYTHONPATH=.:tests $(BIN)/python tests/faults/soak.py

e2e: .venv/.made-e2e ## real S3, real inference servers, a real browser
	sh infra/ci-setup
	$(BIN)/python -m pytest tests/e2e

bench: .venv/.made-bench ## the figures of docs/benchmarks.md
	$(BIN)/python -m benchmarks

constraints: .venv/.made-core ## look every version up anew
	printf 'torch==2.13.0\nuv\n' | env -u UV_FIND_LINKS PATH="$$PWD/$(BIN):$$PATH" uv pip compile --quiet --upgrade \
	  --universal --python-version 3.11 $(EXTRAS) --no-annotate --no-header --output-file .venv/versions pyproject.toml -
	{ sed '/^[^#]/,$$d' constraints.txt; cat .venv/versions; } >.venv/constraints
	cp .venv/constraints constraints.txt

clean: ## remove what the targets made
	rm -rf .venv out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/.made-core: $(LOCK)
	$(SETUP) core

.venv/.made-test: $(LOCK)
	$(SETUP) test

.venv/.made-e2e: $(LOCK)
	$(SETUP) e2e

.venv/.made-bench: $(LOCK)
	$(SETUP) bench
