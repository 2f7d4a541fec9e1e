# Every target makes .venv first when it is missing or its requirements changed.
# `make PYTHON=/path/to/python3.12` chooses the Python that .venv is made with.

PYTHON ?= python3
RUN := .venv/bin/python
SITE := _build/html
PORT ?= 8000

export JUPYTER_PLATFORM_DIRS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup book serve lab test stress execute bench clean

help:
	@echo "make book     build the site and say where to open it"
	@echo "make test     run everything that CI runs"
	@echo "make serve    build the site and serve it on http://localhost:$(PORT)"
	@echo "make lab      open the chapters in JupyterLab"
	@echo "make execute  run the notebooks in place (NOTEBOOKS=book/wiener.ipynb)"
	@echo "make bench    measure what the book promises; JSON in benchmarks/results"
	@echo "make stress   the long runs: the book twice, mutation, fuzzing, damaged kernels"
	@echo "make setup    only make the environment in .venv"
	@echo "make clean    remove what was built (not .venv)"

.venv/.ready: requirements.txt pyproject.toml tools/bootstrap.py
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "Python is missing: install Python 3.11, 3.12 or 3.13," \
	    "then run make again (or make PYTHON=/path/to/python)." >&2; exit 1; }
	@$(PYTHON) tools/bootstrap.py

setup: .venv/.ready

book: .venv/.ready
	@$(RUN) tools/build_site.py

serve: book
	@echo "Open http://localhost:$(PORT)  (Ctrl-C stops the server)"
	@$(RUN) -m http.server $(PORT) --bind 127.0.0.1 --directory $(SITE) 2>/dev/null

lab: .venv/.ready
	@$(RUN) -m jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/book \
	  --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

test: .venv/.ready
	@$(RUN) tools/check.py

stress: .venv/.ready
	@$(RUN) tools/stress.py

execute: .venv/.ready
	@$(RUN) tools/execute.py $(NOTEBOOKS)

bench: .venv/.ready
	@$(RUN) benchmarks/all.py $(PARTS)

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
