# Everything runs in a virtual environment of its own; the only needs are make and Python >= 3.11.
PYTHON ?= python3
VENV ?= .venv
MINUTES ?= 9
OUT ?= results/gpu
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test slow long reliability mutants lint gpu bench docs dag keys lock venv clean help

help:
	@echo "make demo   install, then run the default experiment: results/shapes/summary.html"
	@echo "make test   install, then run the tests"
	@echo "make slow   the tests that run the workflow, half an hour; CI runs them too"
	@echo "make long   the longest tests, before a release"
	@echo "make reliability  break everything on purpose, and write docs/reliability.md"
	@echo "make mutants  plant small mistakes in what computes numbers, hours; mutmut results lists survivors"
	@echo "make lint   ruff, snakefmt, snakemake --lint, mypy, pip check"
	@echo "make gpu    every figure that needs a GPU, in 9 minutes; installs nothing (PYTHON=..., MINUTES=..., OUT=...)"
	@echo "make bench  speed and memory of the loss, short form"
	@echo "make docs   the documentation site, into site/"
	@echo "make dag    docs/img/dag.svg, after a change of the rules (needs graphviz)"
	@echo "make keys   docs/config.md and its JSON schema, after a change of the config's keys"
	@echo "make lock   requirements.lock: the versions installed here and their hashes"
	@echo "make clean  remove results of the default experiment and caches"

demo: $(STAMP)
	$(BIN)/snakemake --cores all
	@echo "Results: results/shapes/tables/main.md, results/shapes/figures/, results/shapes/summary.html"
	@cat results/shapes/tables/main.md

test: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow -n 2 --dist loadfile

long: $(STAMP)
	$(BIN)/python -m pytest -q -m long -n 2 --dist loadfile

reliability: $(STAMP)
	$(BIN)/python -m pytest -q -m fault --reliability docs/reliability.csv

mutants: $(STAMP)
	$(BIN)/python -m pip install --quiet mutmut==3.8.1
	$(BIN)/mutmut run --max-children 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	$(BIN)/python -m pip check

# On a machine that may have no network: nothing is installed, PYTHON is the interpreter to use.
gpu:
	PYTHONPATH=. $(PYTHON) benchmarks/gpu.py --minutes $(MINUTES) --out $(OUT)

bench: $(STAMP)
	$(BIN)/python benchmarks/loss.py --short

docs: $(STAMP)
	$(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

dag: $(STAMP)
	$(BIN)/snakemake all --rulegraph 2>/dev/null | tred | dot -Tsvg -o docs/img/dag.svg

keys: $(STAMP)
	$(BIN)/python tests/config_page.py

lock: $(STAMP)
	$(BIN)/python envs/lock.py

venv: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cseg needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "this Python cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[workflow,dev,cityscapes,slurm,bench,onnx,tensorboard]'
	@touch $@

clean:
	rm -rf results/shapes results/smoke .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis
