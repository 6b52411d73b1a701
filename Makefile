# Every target runs in the project's own environment, .venv, which is made on first use and made
# again only when pyproject.toml changes. Set PYTHON to choose the interpreter it is made with.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The first interpreter that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

# Installed before anything else and by exact version: left to choose, pip may take a build with
# gigabytes of GPU libraries that nothing here needs.
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: fuzz help demo test pytest lint docs bench soak external slurm wheel clean

help:
	@echo "make demo    convert, slice and preview a scan that is larger than its memory budget"
	@echo "make test    lint, types and tests"
	@echo "make lint    ruff and mypy alone"
	@echo "make docs    the site, in build/site, with the notebooks run"
	@echo "make bench   measure against other libraries and update the table in the README"
	@echo "make soak    the tests that take minutes, and the others with new random examples"
	@echo "make external  against foreign programs, and foreign data in VOXARRAY_DICOM and VOXARRAY_NGFF"
	@echo "make slurm   on a real SLURM of one node, which is installed (apt, as root), set up and torn down"
	@echo "make wheel   build the wheel, install it in an empty environment, run the README there"
	@echo "make fuzz    coverage-guided attacks on the readers, MINUTES=20 for each"
	@echo "make clean   remove what was built, measured and cached"

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "voxarray needs Python 3.11 or newer: make PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

demo: $(READY)
	$(BIN)/voxarray demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One more than two cores: many tests wait for a process or a server. More cores, more of them.
WORKERS ?= 3

# Lint beside the tests: mypy has one core for half a minute, while the other would wait.
test: $(READY)
	@$(MAKE) --no-print-directory --jobs=2 lint pytest

pytest: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS)

soak: $(READY)
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -m slow
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest

# Foreign data are named by variables, see tests/external/conftest.py; what lacks them is skipped.
external: $(READY)
	$(BIN)/python -m pytest -rs tests/external/test_*.py

# Two to five minutes. Skipped, with the reason, where SLURM cannot run.
slurm: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cluster]'
	$(BIN)/python -m pytest -rs -n0 tests/slurm/test_real_slurm.py tests/slurm/test_other_engines.py

# Minutes, and all dependencies anew: what a release does before it is published.
wheel: $(READY)
	$(BIN)/python -m pytest -rs -n0 -m slow tests/external/test_wheel.py

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f notebooks/mkdocs.yml -d ../build/site

MINUTES ?= 20

fuzz: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python tests/fuzz/fuzz.py --minutes $(MINUTES)

bench: $(READY)
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) .bench .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis .cache build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
