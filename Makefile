PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# errors only; the versions of constraints.txt, also for what builds a package
HELD = PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
PIP = $(HELD) $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check

# How many tests run at a time; 0 for one after the other in pytest's own process, as pdb needs it.
JOBS ?= 4
WORKERS = -n $(JOBS) --dist worksteal

# Without its cache of compiled modules Python compiles them anew in each of thousands of processes.
unexport PYTHONDONTWRITEBYTECODE

SPHINX = $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --doctree-dir build/doctrees

# what is installed and is in no extra
BESIDE_EXTRAS = hatchling niquests

# More arguments for the tool behind a target: make test PYTEST_ARGS='-k wildcard'
PYTEST_ARGS ?=
BENCH_ARGS ?=
DEMO_ARGS ?=
CLIENTS_ARGS ?=
LAB_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Another interpreter: make test PYTHON=python3.13 VENV=.venv-3.13"

.PHONY: demo
demo: $(VENV)/.installed-cli ## pinning at work, and attacked, on servers of its own (no root, no network)
	@$(BIN)/keypin demo $(DEMO_ARGS)

.PHONY: test
test: doctest $(VENV)/.installed-niquests ## every test; prints what it skipped and why (no root)
	@$(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS)

.PHONY: test-all
test-all: doctest $(VENV)/.installed-niquests ## those, and what is for a release: other projects' tests under pins (from PyPI)
	@$(BIN)/python -m pytest $(WORKERS) -m 'release or not release' $(PYTEST_ARGS)

.PHONY: doctest
doctest: $(VENV)/.installed-test ## the examples in the docstrings
	@$(BIN)/python -m pytest --quiet --doctest-modules src --ignore=src/keypin/_bootstrap

.PHONY: coverage
coverage: $(VENV)/.installed-niquests ## the tests again, without the matrix of clients, with the lines and branches that they miss
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest --quiet $(WORKERS) --ignore=tests/matrix $(PYTEST_ARGS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

.PHONY: clients
clients: $(VENV)/.installed-niquests ## docs/clients.md, from a run of the matrix of clients
	@$(BIN)/python docs/make_clients.py $(CLIENTS_ARGS)

.PHONY: docs
docs: $(VENV)/.installed-docs ## build/docs: the site of the documents, with the reference and all options; warnings are errors
	@$(SPHINX) --builder html docs build/docs
	@echo "build/docs/index.html"

.PHONY: pictures
pictures: $(VENV)/.installed-test ## docs/pictures: the demo and the lab's page, anew
	@$(BIN)/python docs/make_pictures.py

.PHONY: linkcheck
linkcheck: $(VENV)/.installed-docs ## do the documents' links to other sites lead somewhere? (network)
	@$(SPHINX) --builder linkcheck docs build/linkcheck

.PHONY: lab
lab: $(VENV)/.installed-test ## docs/lab-results.md: the attack lab against keypin and its peers (some 15 minutes)
	@$(BIN)/python examples/lab/run.py --output docs/lab-results.md $(LAB_ARGS)

.PHONY: example-desktop
example-desktop: $(VENV)/.installed-test ## a desktop app with a pinned page, and servers for it
	@$(BIN)/python examples/desktop/app.py --demo

.PHONY: example-script
example-script: $(VENV)/.installed-cli ## a script with a pinned server, and servers for it
	@$(BIN)/python examples/script/people.py --demo

.PHONY: bench
bench: $(VENV)/.installed-bench ## the benchmarks; BENCH_ARGS=--quick for a short run
	@$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

.PHONY: lint
lint: $(VENV)/.installed-dev ## ruff: rules and format; import-linter: the layers
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/lint-imports --no-logo > build.log 2>&1 || { cat build.log; exit 1; }

.PHONY: types
types: $(VENV)/.installed-dev ## mypy, strict, for Linux, macOS and Windows
	@$(BIN)/mypy
	@$(BIN)/mypy --platform darwin --no-warn-unreachable --no-error-summary
	@$(BIN)/mypy --platform win32 --no-warn-unreachable --no-error-summary

.PHONY: verifytypes
verifytypes: $(VENV)/.installed-dev ## pyright: has every public name a type of its own? (fetches pyright from npm once)
	@mkdir -p build && cd build && PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes keypin --ignoreexternal

.PHONY: wheel
wheel: $(VENV)/.installed-dev ## dist/: the source archive, and the wheel built from it
	@rm -rf dist
	@$(HELD) $(BIN)/python -m build --outdir dist > build.log 2>&1 || { cat build.log; exit 1; }
	@ls dist/*

# What keypin's own extras bring; each release names it.
SBOM_EXTRAS = adapters,attacks,webview

.PHONY: release-check
release-check: wheel $(VENV)/.installed-release ## dist/ is fit to be uploaded; build/*.cdx.json: an SBOM of it
	@$(BIN)/twine --no-color check --strict dist/*
	@$(BIN)/check-wheel-contents dist/*.whl
	@rm -rf build/sbom build/*.cdx.json && $(BIN)/python -m venv --without-pip build/sbom
	@$(PIP) --python build/sbom/bin/python install "`echo dist/*.whl`[$(SBOM_EXTRAS)]"
	@name=`basename dist/*.tar.gz .tar.gz`; \
	sed "s/^dynamic = \[\"version\"\]/version = \"$${name#keypin-}\"/" pyproject.toml > build/sbom/pyproject.toml; \
	$(BIN)/cyclonedx-py environment build/sbom/bin/python --pyproject build/sbom/pyproject.toml \
	    --mc-type library --output-reproducible --output-file "build/$$name.cdx.json"
	@ls build/*.cdx.json

.PHONY: venv
venv: $(VENV)/.installed-dev ## the virtual environment with everything for development

.PHONY: upgrade
upgrade: $(VENV)/.created ## constraints.txt: the newest versions of everything, for every Python and system
	@$(BIN)/python -m pip install --quiet --upgrade uv
	@mkdir -p build
	@echo "# The versions that make and CI install, on any Python and system; make upgrade." > build/constraints.txt
	@printf '%s\n' $(BESIDE_EXTRAS) | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
	    --upgrade --no-annotate --no-header pyproject.toml - >> build/constraints.txt
	@mv build/constraints.txt constraints.txt
	@git diff --stat constraints.txt

.PHONY: system-deps
system-deps: ## the Debian packages that some tests use (root)
	@apt-get -qq update
	@sed 's/#.*//' system-deps.txt \
	    | DEBIAN_FRONTEND=noninteractive xargs apt-get -qq install -y --no-install-recommends --no-upgrade > /dev/null

.PHONY: clean
clean: ## remove what the other targets made, but no virtual environment of another name
	@rm -rf .venv build dist docs/_generated build.log .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per set of extras, made anew only when what they consist of changes.
$(VENV)/.installed-%: pyproject.toml constraints.txt $(VENV)/.created | same-python
	@echo "Installing keypin[$*] into $(VENV) ..." >&2
	@$(PIP) install --editable '.[$*]'
	@touch $@

# niquests needs urllib3-future, which takes the place of urllib3 unless it is built like this.
$(VENV)/.installed-niquests: $(VENV)/.installed-test
	@URLLIB3_NO_OVERRIDE=1 $(PIP) install --no-cache-dir --no-binary urllib3-future niquests
	@touch $@

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "keypin needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, ssl, venv' \
	    || { echo "$(PYTHON) lacks a standard module (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# An environment made with one interpreter must not pass for a test of another.
.PHONY: same-python
same-python: $(VENV)/.created
	@wanted=`$(PYTHON) -c 'import sys; print(sys.version)'`; \
	found=`$(BIN)/python -c 'import sys; print(sys.version)'`; \
	test "$$wanted" = "$$found" || { \
	    echo "$(VENV) holds Python $$found" >&2; \
	    echo "and $(PYTHON) is $$wanted: choose another VENV=, or remove $(VENV)" >&2; exit 1; }
