.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
RESULTS := results
SNAKEMAKE := $(BIN)/snakemake --workflow-profile workflow/profiles/default
SMK := Snakefile workflow/Snakefile $(wildcard workflow/rules/*.smk)

# The environment wins over what the caller has active.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MPLBACKEND := agg

# Where there is no home to write to, caches stay here.
ifeq ($(shell test -w "$$HOME" && echo yes),)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
export MPLCONFIGDIR := $(CURDIR)/.snakemake/matplotlib
endif

.PHONY: help env run test slow faults cluster lint docs bench lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST) | expand -t 16

env: $(READY)  ## set up .venv (done by the other targets where needed)

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; install Python 3.11 or newer, or say make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up .venv (once; a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if command -v uv >/dev/null; then \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@$(BIN)/python -m compileall -q emtools  # or each first command pays for it
	@touch $@

run: $(READY)  ## run the demo: five analyses of real data, then the reports
	@$(SNAKEMAKE)
	@$(MAKE) --no-print-directory -s $(RESULTS)/snakemake_report.html
	@echo "Report: $(RESULTS)/index.html"

$(RESULTS)/snakemake_report.html: $(RESULTS)/index.html $(RESULTS)/multiqc/multiqc_report.html
	@PYTHONWARNINGS=ignore::RuntimeWarning $(SNAKEMAKE) --report $@ --quiet all

test: $(READY)  ## quick tests
	$(BIN)/python -m pytest -q -n auto --dist worksteal

slow: $(READY)  ## long tests
	$(BIN)/python -m pytest -q -m slow -n auto --dist worksteal

faults: $(READY)  ## 200 kills at random moments, full disks (hours; full disks want root), an hour of fuzzing
	$(BIN)/python -m pytest -q -m faults tests/faults tests/fuzz

cluster: $(READY)  ## the workflow on a SLURM started here (Debian or Ubuntu, root; installs what it needs)
	@tests/cluster/slurm.sh install
	$(BIN)/python -m pytest -q -m cluster tests/cluster

lint: $(READY)  ## formatting, types, arrows between the rooms, workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check $(SMK)
	$(BIN)/snakemake --lint
	cd workflow && ../$(BIN)/snakemake --lint

docs: $(READY)  ## the site in site/: tutorials are run, warnings are errors, links are checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@$(BIN)/python docs/_site/links.py site
	@echo "Docs: site/index.html"

bench: $(READY)  ## ours against named peers
	$(BIN)/python -m benchmarks

lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	echo setuptools | uv pip compile pyproject.toml - --all-extras --quiet --generate-hashes --no-emit-index-url \
	  --no-header --universal --fork-strategy fewest --python-version 3.11 -o requirements.lock

clean:  ## remove results and caches; .venv stays
	rm -rf $(RESULTS) site .docs .snakemake workflow/.snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find emtools tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
