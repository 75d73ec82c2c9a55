# make demo   install into .venv, then the main job on the bundled model
# make fuzz   changed files, command lines and kills by the thousand: for the night
# make oldest the tests again with the least versions of other packages that pyproject.toml asks for
# make test   install into .venv, then every check that CI runs
# make docs   install into .venv, then build the site, to be opened from disk
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip
DEV := accelerate build diffusers einops hypothesis mkdocstrings-python mypy pytest pytest-xdist ruff selenium torchmetrics transformers zensical

# what meets other packages most; test_pipelines asks for what pipelines give only since diffusers 0.41
OLDEST := $(foreach part,calibration cli cli_evaluate explanation fit hub kdiffusion metrics model \
    pipeline_model plan plot_cli plots sampling scheduler_adoption scheduler_contract scheduler_options scheduler_runs \
    scheduler_times solvers statistics tracing,tests/test_$(part).py)

.PHONY: demo test lint fuzz oldest bench docs clean

demo: .venv/installed
	$(BIN)/dode demo

# one thread a process: those that tests start would fight with each other
test: .venv/dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python .ci/top_level.py

docs: .venv/dev
	$(BIN)/python website/assemble.py

fuzz: .venv/dev
	DODE_FUZZ=10000 DODE_FUZZ_SEED=$$(date +%Y%m%d) DODE_LINES=200 DODE_KILLS=50 \
	    $(BIN)/python -m pytest -n 2 --dist worksteal tests/test_fuzz.py tests/test_vectors.py \
	    tests/test_cache.py paper/tests/test_killed.py paper/tests/test_paper_fuzz.py paper/tests/test_paper_vectors.py

oldest: .venv-oldest/installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n 2 -W default $(OLDEST)

bench: .venv/dev
	$(BIN)/python benchmarks/overhead.py

.venv/installed: pyproject.toml paper/pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --upgrade pip
	$(PIP) install --quiet -c constraints.txt torch==2.13.0 editables hatchling
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[cli]'
	$(PIP) install --quiet -c constraints.txt --no-build-isolation --no-deps -e paper
	touch $@

.venv/dev: .venv/installed
	$(PIP) install --quiet -c constraints.txt $(DEV)
	$(PIP) install --quiet -c constraints.txt --no-deps azula  # it asks for torchvision, for one of its plugins
	touch $@

# on Linux pip may take torch with CUDA's libraries, some gigabytes, where there is no index of the smaller one
.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet editables hatchling
	.venv-oldest/bin/python -m pip install --quiet -c constraints-oldest.txt --no-build-isolation -e '.[cli,diffusers]' -e paper 'click<8.2' \
	    einops hypothesis pytest pytest-xdist selenium torchmetrics
	.venv-oldest/bin/python -m pip install --quiet --no-deps azula
	touch $@

clean:
	rm -rf .venv .venv-oldest demo website/build
