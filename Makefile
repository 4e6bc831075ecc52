.PHONY: check lint test bench bounds docs

# What CI runs, in the environment that is active.
check: lint test

lint:
	ruff check .
	ruff format --check .
	mypy --strict tuner

test:
	pytest

# What OVERHEAD.md, SCALING.md and the table of searches hold; the first takes most of an hour. The others (search, soak,
# ledger, boards, memory_edge, finetune, gpu) have their commands at the top of their files.
bench:
	python -m benchmarks.overhead
	python -m benchmarks.rates
	python -m benchmarks.scaling
	python -m benchmarks.searches

# The lowest and the highest versions that pyproject.toml allows: some GiB, and half an hour.
bounds:
	.ci/bounds

# What is generated from the code.
docs:
	python -m tuner.spec.document
	python -m tuner.outputs.document
	python -m tuner.outputs.reference
