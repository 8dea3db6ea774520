# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo lint audit test teachers teachers-extra evidence reproduce tiny-imagenet photos bench docs parity chaos chaos-captioning chaos-training chaos-sweep cluster-test mlflow-server clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SEEDS ?= 0,1,2,3,4,5,6,7
ARMS ?=
TINY_IMAGENET ?= ../shared/data/tiny-imagenet-lt

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: .venv/.stamp ## make .venv from pyproject.toml and constraints.txt (instant when nothing changed)

.venv/.stamp: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, found " + sys.version)'
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## the whole line on the embedded world: captions, sweep, student, MLflow, report
	$(BIN)/orchestrator run jobs/experiments/demo.yaml --execution jobs/executions/laptop.yaml

lint: setup ## style, format, types, layers, secrets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then git ls-files -z | grep -zvE '/weights/|^tests/golden/' \
		| xargs -0 $(BIN)/detect-secrets-hook --disable-plugin HexHighEntropyString \
		--disable-plugin Base64HighEntropyString --exclude-lines 'api_key_(env|file)|^def test_'; \
	else echo "not a git checkout: no scan for secrets"; fi

audit: setup ## known holes of the pinned packages (needs network to an advisory service, so no part of CI)
	@found=$$(mktemp -u); $(BIN)/pip-audit --progress-spinner off --no-deps --disable-pip -r constraints.txt \
		--output "$$found" 2> "$$found.log"; code=$$?; cat "$$found.log"; touch "$$found"; grep -v 'not be audited' "$$found"; \
	pins=$$(grep -c == constraints.txt); skipped=$$(grep -c 'not be audited' "$$found"); \
	if ! test -s "$$found" && grep -qv 'No known' "$$found.log"; then skipped=$$pins; fi; \
	rm -f "$$found" "$$found.log"; echo "$$((pins - skipped)) of $$pins pinned packages were looked up"; \
	if test $$pins = $$skipped; then echo "no advisory service knows them from here: NOTHING was audited"; exit 69; fi; exit $$code

test: setup lint ## set up, lint, every test, on all cores
	$(BIN)/python -m pytest -n auto --dist loadfile

teachers: setup ## train the embedded teachers again (at most 90 minutes on 2 cores)
	$(BIN)/python -m jobs.teachers

EXTRA ?= runs/teachers-extra

teachers-extra: setup ## more teachers for comparisons, outside the package (EXTRA=folder); about 2 hours, part by part
	$(BIN)/python -m jobs.teachers_extra --output "$(EXTRA)"

evidence: setup ## paired seeds of every arm and control against the baseline (SEEDS, ARMS), into RESULTS.md; resumes
	$(BIN)/orchestrator evidence jobs/experiments/evidence.yaml --seeds "$(SEEDS)" --arms "$(ARMS)" --records reproductions

TARGETS ?= all
SCALE ?= small

reproduce: setup ## the papers' tables (TARGETS, SCALE) with the teachers of make teachers-extra, into RESULTS.md; resumes
	$(BIN)/orchestrator reproduce $(TARGETS) --scale "$(SCALE)"

tiny-imagenet: setup ## the line on photographs; TINY_IMAGENET=folder with the list files and tars
	@test -d "$(TINY_IMAGENET)" || { echo "no folder $(TINY_IMAGENET): say where with TINY_IMAGENET=..."; exit 2; }
	$(BIN)/orchestrator run jobs/experiments/tiny_imagenet_lt.yaml dataset.root="$(abspath $(TINY_IMAGENET))" \
		--execution jobs/executions/laptop.yaml

PHOTOS ?= ../shared/data/photos

photos: setup ## the line on photographs of ordinary size with three corrupted copies; PHOTOS=folder of JPEG files
	@test -d "$(PHOTOS)" || { echo "no folder $(PHOTOS): say where with PHOTOS=..."; exit 2; }
	$(BIN)/python -m benchmarks.photos_line --photos "$(PHOTOS)"

bench: setup ## every figure that we claim, against its peer, in the same run
	@set -e; for file in $$(ls benchmarks/[a-z]*.py | grep -v -e /chaos_ -e /photos_ -e /real_ -e /pairs -e /made_ -e /mistakes); do \
		echo "== $$file"; $(BIN)/python -m "benchmarks.$$(basename "$$file" .py)"; done

docs: setup ## the documentation's site, into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "build/site/index.html"

PARITY ?=

parity: setup ## our losses beside those of timm, open_clip and torchdistill on fresh inputs; PARITY="--seed 7"
	$(BIN)/python -m benchmarks.parity $(PARITY)

KILLS ?= 50

chaos: chaos-captioning chaos-training chaos-sweep ## every chaos suite

chaos-captioning: setup ## captioning under KILLS random kills of actors, driver and raylet; resumes round by round
	$(BIN)/python -m benchmarks.chaos_captioning --kills "$(KILLS)"

chaos-training: KILLS = 20
chaos-training: setup ## training under 20 (KILLS) random kills of worker, controller and driver; resumes round by round
	$(BIN)/python -m benchmarks.chaos_training --kills "$(KILLS)"

SERVER ?=

mlflow-server: setup ## an MLflow server with PostgreSQL, artifacts and passwords; SERVER="--host ... --allowed-host ..."
	$(BIN)/orchestrator mlflow-server $(SERVER)

chaos-sweep: KILLS = 20
chaos-sweep: setup ## a sweep under 20 (KILLS) random kills of its driver; resumes round by round
	$(BIN)/python -m benchmarks.chaos_sweep --kills "$(KILLS)"

cluster-test: setup ## a server killed under trials; nodes lost: three raylets, three hosts, a cloud (as root: docs/clusters.md)
	$(BIN)/python -m pytest -q tests/unit/tracking/eight_trials.py
	$(BIN)/python -m tests.cluster.raylets
	$(BIN)/python -m tests.cluster.three_hosts
	$(BIN)/python -m tests.cluster.three_hosts --storage bucket
	$(BIN)/python -m tests.cluster.cloud

clean: ## remove build files and caches; the environment and runs/ stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -path ./.venv -prune -o -path ./runs -prune -o -type d -name __pycache__ -exec rm -rf {} +
