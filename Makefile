# Two commands for a fresh machine with Python 3.11 or newer:
#   make demo   own environment, install, main job on shipped instances, path of the report
#   make test   own environment, install, lint, types, tests (the wheel's included)
# And: make test-full, the random tests at three times the depth; make campaign, random attacks for an hour; make
# docs, the guide as a site.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
JOBS ?= 2

.PHONY: demo test test-full campaign lint types pytest docs benchmark clean

demo: $(VENV)/installed
	$(BIN)/pats-opt gap-report --suite demo --jobs $(JOBS) -o out/demo --resume

test: lint types pytest

test-full: export PATS_OPT_DEPTH := 1
test-full: test

campaign: $(VENV)/installed-test
	$(BIN)/python -m tests.campaign --jobs $(JOBS)

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

types: $(VENV)/installed-test
	$(BIN)/mypy

pytest: $(VENV)/installed-test
	$(BIN)/pytest -n $(JOBS) --dist worksteal

mutation: $(VENV)/installed-test
	$(BIN)/python experiments/mutation/run.py

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -d out/guide-trees -b html . out/guide
	@echo "the guide: out/guide/index.html"

benchmark: $(VENV)/installed-test
	$(BIN)/python benchmarks/core_speed.py
	$(BIN)/python benchmarks/online_speed.py
	$(BIN)/python benchmarks/dispatch.py
	$(BIN)/python benchmarks/caching_speed.py
	$(BIN)/python benchmarks/milp_growth.py
	$(BIN)/python -m benchmarks.bounds
	$(BIN)/python benchmarks/planning_speed.py
	$(BIN)/python benchmarks/show_speed.py
	$(BIN)/python benchmarks/serve_speed.py
	$(BIN)/python benchmarks/executor_speed.py --sizes 1,2,4

$(VENV)/python-is-new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/python-is-new-enough
	$(PIP) -e .
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(VENV)/python-is-new-enough
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-docs: pyproject.toml constraints.txt | $(VENV)/python-is-new-enough
	$(PIP) -e '.[docs]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
