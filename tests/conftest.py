"""The flags of the tests, their order, their threads, and a cache that they share."""

import sys
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the long proofs be run in full."""
    parser.addoption("--kills", default=2, type=int, help="how often tests/ray/test_kills.py kills its run")


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a real Ray, or a server of objects, by where it is and what it uses.

    Those on Ray go first, for they take longest: so in the end no worker is left alone with one of them.
    """
    order = ("machines", "ray")
    for item in items:
        if item.path.parent.name == "ray":
            item.add_marker(pytest.mark.ray)
        if "seaweed" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: next((i for i, name in enumerate(order) if name in item.path.parts), len(order)))


def pytest_collection_finish() -> None:
    """Compute with one thread in this process: where there is little to do, others wait for it and keep a core busy.

    The processes that tests start have as many as they would have anywhere.
    """
    import scipy.linalg  # noqa: F401 - it has a BLAS of its own, and is else imported later, by a search

    threadpool_limits(1)
    if "torch" in sys.modules:  # which has a library of its own, and a number of its own
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> Path:
    """Give a trainable a cache of data sets that the tests share."""
    monkeypatch.setenv("TUNER_CACHE", str(shared_cache))
    return tmp_path


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")
