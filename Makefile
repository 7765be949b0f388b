# Everything happens in .venv of this checkout; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/first
STEPS ?= 400000

.PHONY: install train test sanitize bench bench-peers bench-ship lint format figures

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mast needs Python 3.11 or newer; try: make PYTHON=python3.11 " + "$(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# The main job: a 95 %-sparse MAST-QMIX team on SMAX 3m, then its evaluation over 128 battles. Stopped, it goes on.
train: install
	if [ -e $(RUN)/config.json ]; then \
	echo "going on with $(RUN), whose number of steps stays (another run: make train RUN=runs/other)"; \
	$(BIN)/mast resume $(RUN); \
	else $(BIN)/mast train smax/3m --method mast --sparsity 0.95 --steps $(STEPS) --out $(RUN); fi
	$(BIN)/mast evaluate $(RUN)

test: install
	$(BIN)/pytest -n 2 --dist loadfile

# The native kernels under the address and undefined-behaviour sanitizers (needs a C++ compiler).
sanitize:
	tests/kernels/native/sanitize.sh

# A full update: dense and masked in XLA against compact; rewrites results/kernels_update.csv.
bench: install
	taskset -c 0 $(BIN)/python benchmarks/update.py 3m 3s5z --widths 64 256 --sparsities 0.9 0.95

# The whole loop against JaxMARL's QMIX (JAXMARL is a checkout of FLAIROx/JaxMARL) and a learner in PyTorch;
# rewrites results/peers.csv and, with one arena of the allocator, peers_one_arena.csv. PyTorch and flashbax stay out of .venv: they would change versions in it.
bench-peers: .peers/installed
	PYTHONPATH=.peers taskset -c 0 $(BIN)/python benchmarks/peers.py 3m --jaxmarl $(JAXMARL) --turns 7
	PYTHONPATH=.peers taskset -c 0 $(BIN)/python benchmarks/peers.py 3s5z --jaxmarl $(JAXMARL) --updates 16 --turns 4
	MALLOC_ARENA_MAX=1 PYTHONPATH=.peers taskset -c 0 $(BIN)/python benchmarks/peers.py 3m --jaxmarl $(JAXMARL) \
	--turns 3 --warm-up 5 --arms dense mast-compact torch jaxmarl-short --out results/peers_one_arena.csv
	MALLOC_ARENA_MAX=1 PYTHONPATH=.peers taskset -c 0 $(BIN)/python benchmarks/peers.py 3s5z --jaxmarl $(JAXMARL) \
	--updates 16 --turns 3 --warm-up 5 --arms dense mast-compact torch jaxmarl-short --out results/peers_one_arena.csv

.peers/installed: .venv/installed
	$(BIN)/python -m pip install --quiet --target .peers torch==2.13.0
	$(BIN)/python -m pip install --quiet --target .peers --no-deps flashbax==0.1.3
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pictures of the README and of docs/experiments.md, from the rows under results/.
figures: install
	$(BIN)/python results/plot.py
	$(BIN)/python results/plot_peers.py

# Exported agents against onnxruntime and JAX, one step at a time; rewrites results/ship.csv.
bench-ship: install
	taskset -c 1 $(BIN)/python benchmarks/ship.py
