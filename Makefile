# Every target makes the environment it needs by itself.

# The lock serves these Pythons. The first that is found makes the environment, unless told:
# make demo PYTHON=/path/to/python. A name on the path may be a shim of pyenv that leads nowhere.
PYTHONS := 3.11 3.12 3.13
UNTESTED := 3.14
PYENV = $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python)
CANDIDATES = python3 $(foreach v,$(PYTHONS),python$(v) $(call PYENV,$(v)))

# $(call served,python3): the interpreter if it is one of PYTHONS, otherwise nothing.
IS_SERVED := import sys; sys.exit('%d.%d' % sys.version_info[:2] not in '$(PYTHONS)'.split())
served = $(shell $(1) -c "$(IS_SERVED)" 2>/dev/null && echo $(1))

# $(call find,3.12): an interpreter of this version, or nothing.
find = $(firstword $(foreach p,python$(1) $(call PYENV,$(1)),$(shell $(p) -c "" 2>/dev/null && echo $(p))))

# $(call first,python3 python3.11): the first that is served; the rest is not asked.
first = $(if $(1),$(or $(call served,$(firstword $(1))),$(call first,$(wordlist 2,99,$(1)))))

PYTHON ?= $(call first,$(CANDIDATES))
CHOSEN = $(or $(if $(PYTHON),$(call served,$(PYTHON))),$(error $(NO_PYTHON)))
NO_PYTHON = $(if $(PYTHON),$(PYTHON) is not,found no) Python $(subst $() ,/,$(PYTHONS)): give one with PYTHON=/path/to/python

VENV := .venv
PEERS := .venv-peers
LEROBOT := .venv-lerobot
OMNIGIBSON := .venv-omnigibson
LOWEST := .venv-lowest
PYTHON310 ?= $(call find,3.10)
PYTHON311 ?= $(call find,3.11)
PYTHON312 ?= $(call find,3.12)
NEEDED310 = $(or $(PYTHON310),$(error found no Python 3.10: give one with PYTHON310=/path/to/python))
NEEDED311 = $(or $(PYTHON311),$(error found no Python 3.11: give one with PYTHON311=/path/to/python))
STAMP := $(VENV)/.installed
PEERS_STAMP := $(PEERS)/.installed
LEROBOT_STAMP := $(LEROBOT)/.installed
OMNIGIBSON_STAMP := $(OMNIGIBSON)/.installed
OMNIGIBSON_SOURCE := $(OMNIGIBSON)-source/omnigibson
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-pythons test-lowest test-lerobot test-omnigibson test-omnigibson-310 check style format bench bench-peers clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV) with $$($(CHOSEN) --version), once; this takes a few minutes."
	$(CHOSEN) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[train,data,report,dev]" -c constraints.txt
	touch $@

$(PEERS_STAMP): Makefile
	$(CHOSEN) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet robosuite==1.5.2 mujoco==3.3.7
	touch $@

# LeRobot needs an older torch than the project, and with it several GB.
$(LEROBOT_STAMP): Makefile pyproject.toml
	@echo "Installing into $(LEROBOT), once; this takes several minutes and about 8 GB."
	$(CHOSEN) -m venv $(LEROBOT)
	$(LEROBOT)/bin/python -m pip install --quiet -e . lerobot==0.4.4 pytest==9.2.0
	touch $@

# OmniGibson's pins exclude ours (numpy below 2, for one), and Pythons after 3.11. It needs torch and
# does not ask for it.
OMNIGIBSON_RELEASE := omnigibson==1.1.1
OMNIGIBSON_PACKAGES := $(OMNIGIBSON_RELEASE) torch==2.13.0 'usd-core>=24.11,<27' Robotic-Arm==1.1.6 pytest==9.2.0

$(OMNIGIBSON_STAMP): Makefile pyproject.toml constraints-omnigibson.txt
	@echo "Installing into $(OMNIGIBSON), once; this takes several minutes and about 2 GB."
	$(NEEDED311) -m venv $(OMNIGIBSON)
	$(OMNIGIBSON)/bin/python -m pip install --quiet --no-compile -e ".[train]" $(OMNIGIBSON_PACKAGES) -c constraints-omnigibson.txt
	touch $@

# The release itself runs on Python 3.10: the tests run there too, less the script's. torch has no build
# without CUDA in the index, so this environment is apart.
$(OMNIGIBSON)-310/.installed: Makefile pyproject.toml constraints-omnigibson.txt
	@echo "Installing into $(OMNIGIBSON)-310, once; this takes several minutes and about 8 GB."
	$(NEEDED310) -m venv $(OMNIGIBSON)-310
	$(OMNIGIBSON)-310/bin/python -m pip install --quiet --no-compile -e . $(OMNIGIBSON_PACKAGES) -c constraints-omnigibson.txt
	touch $@

# The release's source alone, 0.7 MB, without what it needs: the tests that read it say so if it is
# not to be had, and the rest runs.
$(OMNIGIBSON_SOURCE): | $(STAMP)
	-$(BIN)/python -m pip install --quiet --no-deps --no-compile --target $(OMNIGIBSON)-source $(OMNIGIBSON_RELEASE)

# An environment for each Python, with what its part of the lock serves.
EXTRAS := train,data,report,dev
EXTRAS_3.10 := dev

.PRECIOUS: .venv-py%/.installed
.venv-py%/.installed: pyproject.toml constraints.txt
	@echo "Installing into .venv-py$*, once; torch may bring several GB."
	$(or $(call find,$*),$(error no Python $* found)) -m venv .venv-py$*
	.venv-py$*/bin/python -m pip install --quiet -e ".[$(or $(EXTRAS_$*),$(EXTRAS))]" -c constraints.txt
	touch $@

# The lowest versions that pyproject.toml allows, where several go together.
$(LOWEST)/.installed: pyproject.toml tests/lowest.py
	@echo "Installing into $(LOWEST), once; this takes several minutes and some GB."
	$(NEEDED311) -m venv $(LOWEST)
	$(LOWEST)/bin/python tests/lowest.py core train data report dev > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet -e ".[$(EXTRAS)]" -c $(LOWEST)/constraints.txt
	touch $@

demo: $(STAMP)  ## turn the flywheel twice on Grasp: results, plot and video under runs/
	$(BIN)/python baselines/dexflywheel.py --preset quick --task Grasp

test: $(STAMP) $(OMNIGIBSON_SOURCE)  ## run the tests on two processes, slowest listed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -p no:benchmark --durations=20 tests

# RECORD=--record keeps the outcome in results/install, for the table of docs/install.md.
test-pythons:  ## run the tests with every Python from 3.10 to 3.13 that is found
	@failed=""; \
	$(foreach v,3.10 $(PYTHONS),$(if $(call find,$(v)),\
	$(MAKE) --no-print-directory test-python-$(v) || failed="$$failed $(v)";,\
	echo "no Python $(v) here: not tried";)) \
	$(foreach v,$(UNTESTED),$(if $(call find,$(v)),echo "Python $(v) is here: not supported";)) \
	if [ -n "$$failed" ]; then echo "the tests failed with Python$$failed"; exit 1; fi

test-python-%: .venv-py%/.installed $(OMNIGIBSON_SOURCE)
	OMP_NUM_THREADS=1 .venv-py$*/bin/python -m tests.tried "python $*" $(RECORD)

test-lowest: $(LOWEST)/.installed $(OMNIGIBSON_SOURCE)  ## run the tests with the lowest versions allowed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m tests.tried "lowest versions" $(RECORD)

# --- clients: other projects' programs on these tasks, unmodified, in environments of their own

CLIENTS := .venv-clients
# ray[rllib] pins Gymnasium 1.2.2; what else RLlib needs is named here, and it runs with ours.
RLLIB_PACKAGES := ray==2.60.0 dm-tree==0.1.10 lz4==4.4.5 ormsgpack==1.13.1 pyarrow==26.0.1 \
	pydantic==2.14.4 scipy==1.17.1 tensorboardX==2.6.5
# What single wrappers of Gymnasium need.
WRAPPER_PACKAGES := array-api-compat==1.16.0 moviepy==2.2.1 opencv-python-headless==5.0.0.93 \
	pygame-ce==2.5.8
CLIENTS_PACKAGES := torch==2.13.0 stable-baselines3==2.9.2 torchrl==0.14.1 tensordict==0.14.3 \
	skrl==2.1.1 tianshou==2.0.1 tensorboard==2.21.0 pytest==9.2.0 $(RLLIB_PACKAGES) $(WRAPPER_PACKAGES)
LEROBOT_TESTS := tests/integrations/test_lerobot_reader.py tests/integrations/test_lerobot_programs.py

.PHONY: test-clients test-lerobot-312

$(CLIENTS)/.installed: Makefile pyproject.toml
	@echo "Installing into $(CLIENTS), once; this takes a few minutes and about 2 GB."
	$(CHOSEN) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet -e . $(CLIENTS_PACKAGES)
	touch $@

# LeRobot from 0.5 on needs Python 3.12.
$(LEROBOT)-312/.installed: Makefile pyproject.toml
	@echo "Installing into $(LEROBOT)-312, once; this takes several minutes and about 8 GB."
	$(PYTHON312) -m venv $(LEROBOT)-312
	$(LEROBOT)-312/bin/python -m pip install --quiet -e . 'lerobot[training,diffusion]==0.6.1' pytest==9.2.0
	touch $@

test-clients: $(CLIENTS)/.installed  ## run SB3, TorchRL, skrl, RLlib, Tianshou, and docs/recipes.md
	OMP_NUM_THREADS=1 $(CLIENTS)/bin/python -m pytest tests/clients tests/envs/test_vector_wrappers.py

test-lerobot: $(LEROBOT_STAMP)  ## read, train and evaluate with LeRobot itself
	OMP_NUM_THREADS=1 $(LEROBOT)/bin/python -m pytest $(LEROBOT_TESTS)
	@if [ -n "$(PYTHON312)" ]; then $(MAKE) test-lerobot-312; \
	else echo "no Python 3.12 here: LeRobot 0.6 was not tried"; fi

test-lerobot-312: $(LEROBOT)-312/.installed
	OMP_NUM_THREADS=1 $(LEROBOT)-312/bin/python -m pytest $(LEROBOT_TESTS)

# ---

test-omnigibson: $(OMNIGIBSON_STAMP)  ## hold the OmniGibson backend to the real package, without Isaac Sim
	OMP_NUM_THREADS=1 $(OMNIGIBSON)/bin/python -m pytest tests/omnigibson tests/robots/test_urdf.py
	@echo "ran on Python 3.11 alone; on 3.10, the release's own, with about 8 GB: make test-omnigibson-310"

test-omnigibson-310: $(OMNIGIBSON)-310/.installed  ## the same on Python 3.10, the release's own
	OMP_NUM_THREADS=1 $(OMNIGIBSON)-310/bin/python -m pytest tests/omnigibson tests/robots/test_urdf.py

check: $(STAMP)  ## lint, format and types, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

style: $(STAMP)  ## tokens per code line and longest functions, file by file
	$(BIN)/python tests/style_report.py

format: $(STAMP)  ## apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# RECORD=--record keeps the figures in results/speed, for the tables of README and docs/install.md.
bench: $(STAMP)  ## measure speed: against raw MuJoCo, at the start, by worlds and threads
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmark/speed -p no:xdist --benchmark-only -s $(RECORD)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmark.speed.start $(RECORD)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmark.speed.scaling $(RECORD)

bench-peers: $(STAMP) $(PEERS_STAMP)  ## measure robosuite's tasks in an environment of its own
	OMP_NUM_THREADS=1 $(PEERS)/bin/python benchmark/speed/peers.py $(RECORD)

# --- the static site, by mkdocs in an environment of its own

DOCS := .venv-docs
DOCS_PACKAGES := mkdocs==1.6.1 mkdocs-material==9.8.2 mkdocstrings==1.0.8 mkdocstrings-python==2.0.11 \
	ruff==0.17.5

$(DOCS)/.installed: Makefile
	$(CHOSEN) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet $(DOCS_PACKAGES)
	touch $@

docs: $(DOCS)/.installed  ## build the pages and the API reference into site/, a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --clean
	@echo "open site/index.html; to search it: python -m http.server --bind 127.0.0.1 -d site"

# ---

clean:  ## remove environments, caches and builds; runs/ and results/ stay
	rm -rf $(VENV) .venv-py* $(LOWEST) $(PEERS) $(LEROBOT) $(LEROBOT)-312 $(CLIENTS) $(OMNIGIBSON) $(OMNIGIBSON)-310 $(OMNIGIBSON)-source $(DOCS) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
