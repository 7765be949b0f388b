# Everything happens in .venv of this checkout; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/first
STEPS ?= 400000

.PHONY: install train test test-all campaign sanitize bench bench-peers bench-workers bench-ship bench-cortex gpu oracle regress lint format figures

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

# The tests that take less than a second, and all of every method and of resuming: under six minutes on two cores.
test: install
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not gpu and not slow" $(if $(REPORT),--junitxml=$(REPORT))

# All tests, which every change must pass.
test-all: install
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(if $(REPORT),--junitxml=$(REPORT))

# Everything that may happen to a run (kills, signals, disks, damage, settings, policies, fuzz), tried; about half an hour.
campaign: install
	$(BIN)/python tests/campaign/run.py

# The native kernels under the address and undefined-behaviour sanitizers (needs a C++ compiler).
sanitize:
	tests/kernels/native/sanitize.sh

# What sparsity saves on this machine, on one core: full updates, how their cost grows, each loop beside its roof;
# rewrites results/kernels_*.csv and the table by which --execution auto chooses. About fifteen minutes on an idle machine.
bench: install
	taskset -c 0 $(BIN)/python benchmarks/update.py 3m 3s5z --batches played --widths 64 128 256 --sparsities 0 0.5 0.8 0.9 0.95 0.975
	taskset -c 0 $(BIN)/python benchmarks/update.py 3m --batches played --widths 512 --sparsities 0.5 0.8 0.9 0.95 0.975 --add
	taskset -c 0 $(BIN)/python benchmarks/update.py 3s5z --batches played --widths 512 --sparsities 0.9 0.95 --add
	taskset -c 0 $(BIN)/python benchmarks/update.py 27m_vs_30m --batches played --widths 64 --sparsities 0.5 0.8 0.9 0.95 0.975 --add
	taskset -c 0 $(BIN)/python benchmarks/update.py 27m_vs_30m --batches played --widths 256 --sparsities 0.9 0.95 --add
	taskset -c 0 $(BIN)/python benchmarks/update.py 3m 3s5z --batches full --widths 64 256 --sparsities 0.9 0.95 --add
	MAST_KERNELS=avx2 taskset -c 0 $(BIN)/python benchmarks/update.py 3m --batches played --sparsities 0 0.5 0.8 0.9 0.95 --add
	MAST_KERNELS=baseline taskset -c 0 $(BIN)/python benchmarks/update.py 3m --batches played --sparsities 0 0.5 0.8 0.9 0.95 --add
	$(BIN)/python benchmarks/compact_speed.py
	taskset -c 0 $(BIN)/python benchmarks/neuron_masks.py 3m 3s5z
	$(BIN)/python benchmarks/growth.py
	taskset -c 0 $(BIN)/python benchmarks/roofline.py
	PYTHONPATH=.peers taskset -c 0 $(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/cores.py 3m 3s5z 27m_vs_30m 2c_vs_64zg
	$(BIN)/python results/plot_kernels.py

# Before a release: 3m with four methods and fixed seeds, trained afresh and held to the rows of results/regress.
regress: install
	rm -rf build/regress
	$(BIN)/mast study run regress --seed 0,1 --results build/regress --work build/regress/runs
	$(BIN)/mast study check regress --seed 0,1 --fresh build/regress

# The whole loop against JaxMARL's QMIX (JAXMARL is a checkout of FLAIROx/JaxMARL) and a learner in PyTorch;
# rewrites results/peers.csv. PyTorch and flashbax stay out of .venv: they would change versions in it.
bench-peers: .peers/installed
	PYTHONPATH=.peers taskset -c 0 $(BIN)/python benchmarks/peers.py 3m --jaxmarl $(JAXMARL) --turns 7
	PYTHONPATH=.peers taskset -c 0 $(BIN)/python benchmarks/peers.py 3s5z --jaxmarl $(JAXMARL) --updates 16 --turns 4 --warm-up 4

.peers/installed: .venv/installed
	$(BIN)/python -m pip install --quiet --target .peers torch==2.13.0
	$(BIN)/python -m pip install --quiet --target .peers --no-deps flashbax==0.1.3
	touch $@

# What a GPU brings, in at most eight minutes: tests, sparse layers, 1 to 64 runs in a program, JaxMARL beside them (JAXMARL is
# a checkout), and cells of table1-default; rows in build/gpu. DRY=--dry tries it on a CPU.
gpu: install
	$(BIN)/python benchmarks/gpu.py --out build/gpu $(if $(JAXMARL),--jaxmarl $(JAXMARL)) $(DRY)

# Native battles held to jaxmarl's over 1,000 episodes of every map; rewrites results/oracle_battle.csv. About half an hour.
oracle: install
	$(BIN)/python benchmarks/oracle_battle.py

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
	$(BIN)/python results/plot_kernels.py
	$(BIN)/python results/plot_ship.py
	$(BIN)/python results/plot_peers.py
	$(BIN)/mast study report table1-lite --html results/table1-lite.html --figures build/figures
	for study in table1-default snp-lbf1 snp-lbf2; do $(BIN)/mast study report $$study --figures build/figures || exit 1; done
	cp build/figures/table1-default-smax-2s3z-qmix-curves.png build/figures/table1-default-smax-3s5z-qmix-curves.png docs/pictures/
	cp build/figures/snp-lbf1-lbf-lbf1-maa2c-curves.png docs/pictures/snp-lbf1-curves.png
	cp build/figures/snp-lbf2-lbf-lbf2-maa2c-curves.png docs/pictures/snp-lbf2-curves.png
	cp build/figures/table1-lite-smax-3m-qmix-curves.png build/figures/table1-lite-smax-2s3z-qmix-curves.png docs/pictures/

# Env steps a second by the number of worker processes; rewrites results/env_workers.csv. A minute on an idle machine.
bench-workers: install
	$(BIN)/python benchmarks/env_workers.py

# Exported agents against onnxruntime, PyTorch (where it is installed) and JAX, one step at a time; rewrites
# results/ship.csv and its picture.
bench-ship: install
	taskset -c 1 $(BIN)/python benchmarks/ship.py
	$(BIN)/python results/plot_ship.py

# Instructions, flash and RAM of exported agents on a Cortex-M4; needs arm-none-eabi-gcc and qemu-arm (Debian:
# gcc-arm-none-eabi, qemu-user); rewrites results/cortex.csv. About five minutes.
bench-cortex: install
	$(BIN)/python benchmarks/cortex.py
