"""The flags of the tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the long proofs be run in full."""
    parser.addoption("--kills", default=3, type=int, help="how often tests/ray/test_kills.py kills its run")
