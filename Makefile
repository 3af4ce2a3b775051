# make demo    set up, then run both demonstrations and print where the reports are
# make cases   every worked case of docs/cases; DATA=DIR takes real images where DIR has them
# make pacs-demo   the demo study through a PACS (Orthanc) and back, segmented and planned by rule
# make test    set up, then run the tests with line coverage and its floor
# make check   lint, formatting, types, import contracts, Dockerfile
# make docs    build the documentation into site/, without a network
# make guarantees   measure the statistical and geometric guarantees
# make bench   print the benchmark tables
# make bench-service   seconds and memory of the service over HTTP
# make bench-ui   seconds from the hand to the screen, in a real browser
# make test-slow   statistical, training and whole-demo checks

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
OUT ?= out
DATA ?=
# On a machine with the usual index, TORCH_INDEX=https://download.pytorch.org/whl/cpu keeps torch free of CUDA.
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help demo cases pacs-demo test test-slow guarantees check docs bench bench-service bench-ui setup

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(READY)

$(READY): pyproject.toml constraints.txt .ci/system-libraries
	@echo "Setting up .venv (about two minutes, once) ..."
	@bash .ci/system-libraries
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ui,train,remote,medsam,openvino,deid,pacs,readers,fhir,docs,dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/medsam-planner demo pelvic-screw --out $(OUT)/pelvic-screw
	$(BIN)/medsam-planner demo brain-biopsy --out $(OUT)/brain-biopsy

cases: $(READY)
	@for name in pelvic-screw column-screw brain-biopsy seeg; do \
	  $(BIN)/medsam-planner demo $$name --out $(OUT)/cases/$$name || exit 1; done
	@for name in pedicle-screw liver-needle; do \
	  $(BIN)/medsam-planner demo $$name --out $(OUT)/cases/$$name $(if $(DATA),--data $(DATA)) || exit 1; done

pacs-demo: $(READY)
	rm -rf $(OUT)/pacs-demo
	$(BIN)/python -m medsam_planner.demo.pacs_exchange $(OUT)/pacs-demo

# A process takes whole files, so that what the tests of one share is made once; in the order of their names, small ones come last.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder \
		-m "not slow and not guarantee" --cov --cov-report=term

test-slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

guarantees: $(READY)
	$(BIN)/python -m pytest -q -s -m guarantee

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-service: $(READY)
	$(BIN)/python -m benchmarks.service

bench-ui: $(READY)
	$(BIN)/python -m benchmarks.ui
