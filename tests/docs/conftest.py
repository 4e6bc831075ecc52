"""What the tests of the pages share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from support import ROOT


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave this process as it was: modules of a page, its place, and where a cluster would be looked for."""
    for name in [name for name in os.environ if name.startswith(("RAY_", "TUNE_"))]:
        monkeypatch.delenv(name)
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file and not file.startswith((sys.prefix, str(ROOT))):
            del sys.modules[name]
