# make demo: the sample scene in your browser. make test: every check. Both do their own set-up; see README.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PORT ?= 8000
PY := .venv/bin/python
BIN := .venv/bin
# One core is left to the browser and the driver's own threads.
export OMP_NUM_THREADS ?= 2

RUN := .venv/.setup-run
DEV := .venv/.setup-dev
NODE := node_modules/.package-lock.json
SAMPLE := samples/out/tholos.lens
# Scenes with generators, sequences and post-processing networks, from trained files beside their scripts.
LIVE := $(patsubst %,samples/out/%.lens,avatar scaffold deform sequence postprocess)
# Baked fields, fitted to one scene, and a scene of all three kinds of layers.
BAKED := $(patsubst %,samples/out/%.lens,mobilenerf nerf2mesh bakedsdf rerend)
TOGETHER := samples/out/together.lens

.PHONY: help setup demo test lint soak figures clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(RUN): pyproject.toml scripts/setup.sh
	@scripts/setup.sh python && touch $@

$(DEV): pyproject.toml scripts/setup.sh
	@scripts/setup.sh python dev && touch $@ $(RUN)

$(NODE): package.json package-lock.json
	@scripts/setup.sh node && touch $@

setup: $(DEV) $(NODE) ## everything `make test` needs
	@scripts/setup.sh browser

$(SAMPLE:.lens=.ply): $(wildcard samples/tholos/*.py) | $(RUN)
	$(PY) samples/tholos/make.py $@

$(SAMPLE): $(SAMPLE:.lens=.ply) $(wildcard viewer/codec*.py viewer/lens*.py viewer/tree.py viewer/merge.py)
	$(BIN)/splatlens convert --force $< $@

$(TOGETHER): $(SAMPLE:.lens=.ply) samples/out/avatar.lens samples/bakedsdf/fields.glb
$(LIVE) $(BAKED) $(TOGETHER): samples/out/%.lens: samples/%/make.py $(wildcard viewer/*.py converters/*.py) | $(RUN)
	$(PY) $< $@

demo: $(SAMPLE) $(LIVE) $(BAKED) $(TOGETHER) ## make the sample scenes, serve them and print the address (PORT=8000)
	@$(MAKE) --no-print-directory $(NODE) || echo "demo: without onnxruntime-web the page leaves generators out and says so" >&2
	$(BIN)/splatlens serve samples/out --port $(PORT)

lint: $(DEV) $(NODE) ## ruff, mypy --strict, tsc
	$(BIN)/ruff check .
	MYPYPATH=.venv/typing $(BIN)/mypy -p splatlens.viewer -p splatlens.converters
	node_modules/.bin/tsc --project tsconfig.json

test: setup lint ## every check: lint, JavaScript units, Python, shaders, page in Chromium
	scripts/node_tests.sh
	CHROMIUM="$$(scripts/chromium.sh)" $(PY) -m pytest $(PYTEST_ARGS)

soak: setup ## the long tests: 2^24+1 sort keys and the like
	CHROMIUM="$$(scripts/chromium.sh)" $(PY) -m pytest -m soak --timeout 3600 $(PYTEST_ARGS)

figures: setup ## the measured figures as a table, with machine and adapter; FIGURES="goldens lod" for some
	CHROMIUM="$$(scripts/chromium.sh)" $(PY) scripts/figures.py $(FIGURES)

clean: ## what was made, except .venv and node_modules
	rm -rf samples/out bench/out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
