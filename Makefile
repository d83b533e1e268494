# Everything sets itself up with nothing but Python 3.11 or later. The second run finds it done.
#   make demo                  start an environment with sample data and watch one save reach both halves
#   make test                  everything that must hold before a change goes in
#   make lint                  style, types and floors alone
#   make torture               kill -9 at every point of the commit protocol, for minutes
#   make soak                  the same for hours
#   make bench NAME=live_sync  one of the benchmarks in benchmarks/
#   make clean                 delete what was built (an environment's data stays where it is)

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3
JOBS ?= 2
PYTEST_ARGS ?=

.PHONY: demo test lint torture soak bench clean

demo: $(READY)
	$(BIN)/isthmus demo

test: lint
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

torture: $(READY)
	$(BIN)/pytest -m torture -p no:randomly --timeout 0 -s $(PYTEST_ARGS)

soak: $(READY)
	$(BIN)/pytest -m soak -p no:randomly --timeout 0 -s $(PYTEST_ARGS)

bench: $(READY)
	@test -n "$(NAME)" || { echo "make bench NAME=<one of: $$(ls benchmarks | sed -n 's/^\([a-z]\w*\)\(\.py\)\?$$/\1/p' | xargs)>"; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Locked versions with their hashes, then this project itself, editable and built without fetching anything more.
$(READY): requirements-dev.lock pyproject.toml
	@found=; for python in $(PYTHONS); do \
	  if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	test -n "$$found" || { echo "Python 3.11 or later with its venv module is needed (on Debian: apt install python3-venv)."; exit 1; }; \
	echo "Setting up $(VENV) with $$found (once)"; \
	$$found -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@
