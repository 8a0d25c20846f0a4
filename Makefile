# Everything a developer or a user of the checkout needs; each target does its own set-up.
PYTHON ?= python3
PORT ?= 8000
# Crash buttons on the page, for requests from this machine only.
DEBUG ?= true
VENV := .venv
BIN := $(VENV)/bin

# What flake8-async knows and ruff does not: yields and awaits where a cancellation breaks them, swallowed
# cancellations, tasks that outlive what they use. Left out: lists of names to keep (113, 114), coroutines that a
# framework wants (124), a task_status that is handed on (128), checkpoints on every path (900 and above).
ASYNC_RULES := ASYNC101,ASYNC102,ASYNC103,ASYNC104,ASYNC106,ASYNC111,ASYNC112,ASYNC118,ASYNC120,ASYNC121,ASYNC122,ASYNC123,ASYNC125,ASYNC127

.PHONY: run test check format docs clean bench bench-page

# The second run finds the stamps and starts at once.
$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[client]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --group dev
	touch $@

run: $(VENV)/.installed
	REALTIME_SERVER_BIND=127.0.0.1:$(PORT) REALTIME_SERVER_DEBUG=$(DEBUG) $(BIN)/realtime serve

test: $(VENV)/.installed-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='supervisors/*' --fail-under=85
	$(BIN)/coverage report --include='realtime/*' --fail-under=85

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find supervisors realtime tests docs -name '*.py' | xargs $(BIN)/flake8-async --enable=$(ASYNC_RULES)
	$(BIN)/mypy
	$(BIN)/mypy $$(find docs/examples -name '*.py')

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.bench supervisors
	$(BIN)/python -m tests.bench fanout --quick

# Three quarters of an hour on a machine that does nothing else: the tables and the chart of docs/explanation/performance.md.
bench-page: $(VENV)/.installed-dev
	$(BIN)/python -m tests.bench fanout --out docs/explanation/fanout
	$(BIN)/python -m tests.bench profile --out docs/explanation/fanout

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# HTML in docs/_build; a warning, an unknown name and a dead link within the pages are errors.
docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --doctree-dir docs/_build/.doctrees docs docs/_build

clean:
	rm -rf $(VENV) build dist docs/_build .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
