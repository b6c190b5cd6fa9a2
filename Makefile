# Every target makes the environment it needs by itself. PYTHON must be a Python 3.11.
PYTHON ?= python3.11
VENV := .venv
PEERS := .venv-peers
LEROBOT := .venv-lerobot
OMNIGIBSON := .venv-omnigibson
# A name on the path may be a shim of pyenv that leads nowhere.
PYTHON310 ?= $(firstword $(foreach p,python3.10 $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python),$(shell $(p) -c "" 2>/dev/null && echo $(p))))
STAMP := $(VENV)/.installed
PEERS_STAMP := $(PEERS)/.installed
LEROBOT_STAMP := $(LEROBOT)/.installed
OMNIGIBSON_STAMP := $(OMNIGIBSON)/.installed
OMNIGIBSON_SOURCE := $(OMNIGIBSON)-source/omnigibson
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-lerobot test-omnigibson test-omnigibson-310 check format bench bench-peers clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV), once; this takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[train,data,report,dev]" -c constraints.txt
	touch $@

$(PEERS_STAMP): Makefile
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet robosuite==1.5.2 mujoco==3.3.7
	touch $@

# LeRobot needs an older torch than the project, and with it several GB.
$(LEROBOT_STAMP): Makefile pyproject.toml
	@echo "Installing into $(LEROBOT), once; this takes several minutes and about 8 GB."
	$(PYTHON) -m venv $(LEROBOT)
	$(LEROBOT)/bin/python -m pip install --quiet -e . lerobot==0.4.4 pytest==9.2.0
	touch $@

# OmniGibson's pins exclude ours (numpy below 2, for one). It needs torch and does not ask for it.
OMNIGIBSON_RELEASE := omnigibson==1.1.1
OMNIGIBSON_PACKAGES := $(OMNIGIBSON_RELEASE) torch==2.13.0 'usd-core>=24.11,<27' Robotic-Arm==1.1.6 pytest==9.2.0

$(OMNIGIBSON_STAMP): Makefile pyproject.toml constraints-omnigibson.txt
	@echo "Installing into $(OMNIGIBSON), once; this takes several minutes and about 2 GB."
	$(PYTHON) -m venv $(OMNIGIBSON)
	$(OMNIGIBSON)/bin/python -m pip install --quiet --no-compile -e ".[train]" $(OMNIGIBSON_PACKAGES) -c constraints-omnigibson.txt
	touch $@

# The release itself runs on Python 3.10: its tests run there too, where there is one, less the script's.
$(OMNIGIBSON)-310/.installed: Makefile pyproject.toml constraints-omnigibson.txt
	$(PYTHON310) -m venv $(OMNIGIBSON)-310
	$(OMNIGIBSON)-310/bin/python -m pip install --quiet --no-compile -e . $(OMNIGIBSON_PACKAGES) -c constraints-omnigibson.txt
	touch $@

# The release's source alone, 0.7 MB, without what it needs: the tests that read it say so if it is
# not to be had, and the rest runs.
$(OMNIGIBSON_SOURCE): | $(STAMP)
	-$(BIN)/python -m pip install --quiet --no-deps --no-compile --target $(OMNIGIBSON)-source $(OMNIGIBSON_RELEASE)

demo: $(STAMP)  ## turn the flywheel twice on Grasp: results, plot and video under runs/
	$(BIN)/python baselines/dexflywheel.py --preset quick --task Grasp

test: $(STAMP) $(OMNIGIBSON_SOURCE)  ## run the tests on two processes, slowest listed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -p no:benchmark --durations=20 tests

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
PYTHON312 ?= $(firstword $(foreach p,python3.12 $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python),$(shell $(p) -c "" 2>/dev/null && echo $(p))))
LEROBOT_TESTS := tests/test_lerobot_reader.py tests/test_lerobot_programs.py

.PHONY: test-clients test-lerobot-312

$(CLIENTS)/.installed: Makefile pyproject.toml
	@echo "Installing into $(CLIENTS), once; this takes a few minutes and about 2 GB."
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet -e . $(CLIENTS_PACKAGES)
	touch $@

# LeRobot from 0.5 on needs Python 3.12.
$(LEROBOT)-312/.installed: Makefile pyproject.toml
	@echo "Installing into $(LEROBOT)-312, once; this takes several minutes and about 8 GB."
	$(PYTHON312) -m venv $(LEROBOT)-312
	$(LEROBOT)-312/bin/python -m pip install --quiet -e . 'lerobot[training]==0.6.1' pytest==9.2.0
	touch $@

test-clients: $(CLIENTS)/.installed  ## run SB3, TorchRL, skrl, RLlib, Tianshou, and docs/recipes.md
	OMP_NUM_THREADS=1 $(CLIENTS)/bin/python -m pytest tests/clients tests/test_vector_wrappers.py

test-lerobot: $(LEROBOT_STAMP)  ## read, train and evaluate with LeRobot itself
	OMP_NUM_THREADS=1 $(LEROBOT)/bin/python -m pytest $(LEROBOT_TESTS)
	@if [ -n "$(PYTHON312)" ]; then $(MAKE) test-lerobot-312; \
	else echo "no Python 3.12 here: LeRobot 0.6 was not tried"; fi

test-lerobot-312: $(LEROBOT)-312/.installed
	OMP_NUM_THREADS=1 $(LEROBOT)-312/bin/python -m pytest $(LEROBOT_TESTS)

# ---

test-omnigibson: $(OMNIGIBSON_STAMP)  ## hold the OmniGibson backend to the real package, without Isaac Sim
	OMP_NUM_THREADS=1 $(OMNIGIBSON)/bin/python -m pytest tests/omnigibson tests/test_urdf.py
	@if [ -n "$(PYTHON310)" ]; then $(MAKE) test-omnigibson-310; \
	else echo "no Python 3.10 here: the tests ran on one Python only"; fi

test-omnigibson-310: $(OMNIGIBSON)-310/.installed
	OMP_NUM_THREADS=1 $(OMNIGIBSON)-310/bin/python -m pytest tests/omnigibson tests/test_urdf.py

check: $(STAMP)  ## lint, format and types, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# RECORD=--record keeps the figures in results/speed, for the README's table.
bench: $(STAMP)  ## measure the speed of the environments against raw MuJoCo
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmark/speed -p no:xdist --benchmark-only -s $(RECORD)

bench-peers: $(STAMP) $(PEERS_STAMP)  ## measure robosuite's tasks in an environment of its own
	OMP_NUM_THREADS=1 $(PEERS)/bin/python benchmark/speed/peers.py $(RECORD)

clean:  ## remove environments, caches and builds; runs/ and results/ stay
	rm -rf $(VENV) $(PEERS) $(LEROBOT) $(LEROBOT)-312 $(CLIENTS) $(OMNIGIBSON) $(OMNIGIBSON)-310 $(OMNIGIBSON)-source build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
