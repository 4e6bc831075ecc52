.PHONY: check lint test bench docs

# What CI runs, in the environment that is active.
check: lint test

lint:
	ruff check .
	ruff format --check .
	mypy --strict tuner

test:
	pytest

# All that two cores can measure; the overhead benchmark takes most of an hour.
bench:
	python -m benchmarks.overhead
	python -m benchmarks.rates
	python -m benchmarks.scaling
	python -m benchmarks.searches

# What is generated from the code.
docs:
	python -m tuner.spec.document
	python -m tuner.outputs.document
