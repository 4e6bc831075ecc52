.PHONY: check lint test unit coverage bench bounds docs

# What CI runs, in the environment that is active.
check: lint test

lint:
	ruff check .
	ruff format --check .
	mypy --strict tuner

test:
	pytest

# What can be tested within a minute: the core, the spec, the ledger, the trial's side, what a run leaves; no Ray.
unit:
	pytest -n 2 -m "not ray and not slow" tests/core tests/spec tests/trial tests/storage tests/outputs tests/test_ledger*.py

# Which lines of tuner/ the tests run, those of Ray's workers and of forked trials too: twice as long as the tests alone.
coverage:
	coverage erase
	coverage run -m pytest
	coverage combine -q
	coverage report --skip-covered --sort=cover

# What REPORT.md gathers, as far as two cores can measure it: some three hours, and ten more with the recorded curves of
# other people (DATA=FOLDER). boards, finetune, pbt, pbt_simulated, priors, whatif and gpu have their commands at the top
# of their files.
bench:
	python -m benchmarks.overhead
	python -m benchmarks.rates
	python -m benchmarks.scaling
	python -m benchmarks.searches
	python -m benchmarks.decisions
	python -m benchmarks.soak
	python -m benchmarks.ledger
	python -m benchmarks.memory_edge
	python -m benchmarks.compare
	python -m benchmarks.mutants
	$(if $(DATA),python -m benchmarks.search --data $(DATA))
	python -m benchmarks.overview

# The lowest and the highest versions that pyproject.toml allows: some GiB, and half an hour.
bounds:
	.ci/bounds

# What is generated from the code.
docs:
	python -m tuner.spec.document
	python -m tuner.outputs.document
	python -m tuner.outputs.reference
