# make run    an agent in development mode, from nothing but a checkout
# make test   everything that must pass; the last line is "N passed, N failed, N skipped"
# make docs   the documentation, in docs/_build/html

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Without the compatible way of editable installs Twisted does not find the plugins.
EDITABLE := --config-settings editable_mode=compat --editable
# Agents start twice as fast, also where PYTHONDONTWRITEBYTECODE is set.
COMPILE := $(BIN)/python -m compileall -q pyconsul twisted && $(BIN)/python -m pyconsul.cli.bundle

.PHONY: run test docs clean

run: $(VENV)/installed
	@$(COMPILE)
	@echo "pyconsul: HTTP API on http://127.0.0.1:8500/v1/agent/self (end it with Ctrl-C)"
	@$(BIN)/pyconsul agent -dev

test: $(VENV)/tested
	@$(COMPILE)
	@$(BIN)/python -m tests.run

docs: $(VENV)/documented
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(EDITABLE) .
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(INSTALL) $(EDITABLE) '.[test]'
	@touch $@

$(VENV)/documented: $(VENV)/installed
	$(INSTALL) $(EDITABLE) '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info docs/_build docs/reference/generated _trial_temp*
