# Each target makes the environment that it needs, and finds it made the next time.
# Another Python: make clean && make test PYTHON=python3.13

PYTHON ?= python3
TORCH ?= torch==2.13.0

# An empty environment has no PATH, and make finds no python3 without one.
export PATH := $(or $(PATH),/usr/local/bin:/usr/bin:/bin)

RUN := .venv-demo/bin/procession run --nproc-per-node 4
SOURCES := src tests benchmarks examples

.PHONY: demo demo-failure test check compat bench recording stress clean

demo: .venv-demo/ready
	$(RUN) examples/digits.py

demo-failure: .venv-demo/ready
	@echo '$(RUN) examples/fails.py'
	@status=0; $(RUN) examples/fails.py || status=$$?; \
	echo "procession run ended with $$status (1, the failed worker's own, is right)"; \
	test $$status -eq 1

test: check
	.ci/system-packages
	.venv-test/bin/python -m pytest -n auto -m 'not stress'

check: .venv-test/ready
	.venv-test/bin/ruff check $(SOURCES)
	.venv-test/bin/ruff format --check $(SOURCES)
	.venv-test/bin/mypy

# What compares with torch, the training run first and by itself: it keeps four ranks busy; with this variable a missing torch fails the tests that would be skipped.
compat: .venv-torch/ready
	PROCESSION_REQUIRE_TORCH=1 .venv-torch/bin/python -m pytest tests/compat/test_ddp_example.py
	PROCESSION_REQUIRE_TORCH=1 .venv-torch/bin/python -m pytest -n auto --dist loadgroup \
		-o faulthandler_timeout=290 tests/compat --ignore tests/compat/test_ddp_example.py

# Bytecode is what every peer runs from once it is installed; only our checkout would lack it.
bench: .venv-torch/ready
	.ci/system-packages
	env -u PYTHONDONTWRITEBYTECODE .venv-torch/bin/python -m benchmarks

# What a terminal shows, for docs/terminal.md; needs tmux.
recording: .venv-demo/ready
	.venv-demo/bin/python docs/record_terminal.py

# What is drawn by lot is drawn anew each time; the header names the seed, and this draws it again:
# make stress SEED=1764101234
stress: SEED ?= $(shell date +%s)
stress: .venv-test/ready
	SEED=$(SEED) .venv-test/bin/python -m pytest -n auto -m stress

clean:
	rm -rf .venv-demo .venv-test .venv-torch build dist procession-runs
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

needs-demo := '.[demo]'
needs-test := '.[demo,test]'
needs-torch := '.[demo,test]' '$(TORCH)' numpy honcho

.venv-%/ready: pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable $(needs-$*)
	touch $@
