# Every target does its own set-up in .venv; a second run starts within seconds.
VENV   := .venv
PY     := $(VENV)/bin/python
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
CC     ?= cc
MODEL  ?= penguins
space  := $(subst x, ,x)
MODELS := $(subst $(space),|,$(sort $(patsubst models/%/train.py,%,$(wildcard models/*/train.py))))
EXT    := $(wildcard ext/*.pyx ext/*.pxd ext/*.h)

.PHONY: help demo test test-crash test-sanitize fuzz lint format bench build setup clean

help:
	@echo "make demo   build a bundle from real data, serve it, ask it (MODEL=$(MODELS))"
	@echo "make test   all tests"
	@echo "make test-crash   power cuts, kills and errors, at every step of the store and in a running box; prints a table"
	@echo "make test-sanitize   the kernels' tests under the address, undefined-behaviour and thread sanitizers"
	@echo "make fuzz   coverage-guided fuzzing of the kernels that read foreign bytes (SECONDS=60 each; needs clang)"
	@echo "make lint   ruff and mypy"
	@echo "make bench  the table of figures, beside the peers (installs them in benchmarks/envs)"
	@echo "make clean  remove everything that was made"

# What the machine must have: said at once, not in the middle of a build.
INCLUDE = import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
.toolcheck:
	@p="$(or $(PYTHON),python3)"; "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$("$$p" --version 2>&1) || found="not found"; \
	  echo "edgeml needs Python >= 3.11 with venv ($$p: $$found). Install it, or name one: make PYTHON=python3.12"; \
	  echo "  Debian/Ubuntu: apt-get install python3 python3-venv python3-dev"; \
	  echo "  Fedora:        dnf install python3 python3-devel"; \
	  echo "  Alpine:        apk add python3 python3-dev"; exit 1; }
	@command -v $(firstword $(CC)) >/dev/null 2>&1 || { echo "edgeml needs a C compiler ('$(firstword $(CC))' was not found). Install one:"; \
	  echo "  Debian/Ubuntu: apt-get install gcc libc6-dev"; \
	  echo "  Fedora:        dnf install gcc"; \
	  echo "  Alpine:        apk add gcc musl-dev"; exit 1; }
	@printf '#include <math.h>\n#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' | $(CC) -x c -fsyntax-only - >/dev/null 2>&1 || { \
	  echo "edgeml needs the headers of the C library ('$(CC)' could not compile a program of three lines). Install them:"; \
	  echo "  Debian/Ubuntu: apt-get install gcc libc6-dev"; \
	  echo "  Fedora:        dnf install gcc glibc-devel"; \
	  echo "  Alpine:        apk add gcc musl-dev"; exit 1; }
	@"$(PYTHON)" -c '$(INCLUDE)' || { \
	  echo "edgeml needs the headers of Python (Python.h was not found). Install them:"; \
	  echo "  Debian/Ubuntu: apt-get install python3-dev"; \
	  echo "  Fedora:        dnf install python3-devel"; \
	  echo "  Alpine:        apk add python3-dev"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "edgeml needs Python's venv module. Install it:"; \
	  echo "  Debian/Ubuntu: apt-get install python3-venv"; \
	  echo "  Fedora:        dnf install python3"; \
	  echo "  Alpine:        apk add python3"; exit 1; }
.PHONY: .toolcheck

$(PY): | .toolcheck
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(PY)
	@echo "installing what edgeml needs (a minute or two, once)"
	@$(PY) -m pip install --quiet --disable-pip-version-check "setuptools>=77" "cython>=3.1" wheel
	@# EDGEML_EXT=none: the kernels are compiled once, on all cores, by the next rule.
	@EDGEML_EXT=none $(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[test]"
	@touch $@

$(VENV)/.built: $(EXT) setup.py $(VENV)/.installed
	@echo "compiling the kernels"
	@mkdir -p build && $(PY) setup.py --quiet build_ext --inplace --parallel 2 > build/build.log 2>&1 || { cat build/build.log; exit 1; }
	@touch $@

setup: $(VENV)/.built
build: $(VENV)/.built

demo: setup
	@$(PY) -m models.demo $(MODEL)

# One process for each core and two more, because many tests wait; none of them with threads of its own for algebra.
test: setup
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PY) -m pytest -n 4 --dist loadfile

# As root it also mounts small file systems of its own; what this machine cannot do is skipped, and said. The second run
# measures, so its tests run one at a time. One table of both is printed last.
CRASH := build/crash.jsonl
test-crash: setup
	@mkdir -p build && rm -f $(CRASH); export PYTHONPATH=tests; ok=true; \
	run="$(PY) -m pytest -p crash.table --crash-table $(CRASH) -rs"; \
	$$run tests/crash -n 2 -m "crash or not crash" || ok=false; \
	$$run tests/supervisor tests/cli tests/serving tests/house -n 0 -m crash || ok=false; \
	$(PY) -m crash.table $(CRASH) && $$ok

test-sanitize: setup
	@$(PY) tests/hardening/sanitized.py

# Of each target; what was interesting is kept in build/fuzz for the next time.
SECONDS ?= 60
fuzz: setup
	@EDGEML_EXT=none $(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[fuzz]"
	@$(PY) tests/hardening/fuzz.py --seconds $(SECONDS)

lint: setup
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: setup
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: setup
	@EDGEML_EXT=none $(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[bench]"
	@$(PY) -m benchmarks.run --readme

clean:
	rm -rf $(VENV) build dist *.egg-info demo-out benchmarks/envs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f edgeml/kernels/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
