"""Which machines may still join a cluster: what `ray up` has left, or a variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.engine.growth import BOOTSTRAP, VARIABLE, may_come
from tuner.engine.machines import Node
from tuner.errors import UserError

CONFIG = """
max_workers: 4
available_node_types:
  head: {resources: {CPU: 2}, max_workers: 0}
  gpu: {resources: {CPU: 8, GPU: 1, memory: 1000}, max_workers: 4}
  any: {resources: {}}
  cpu: {resources: {CPU: 16}}
"""


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def test_no_machine_comes_where_nothing_is_known(at_home: Path) -> None:
    assert may_come() == []
    for broken in ("", "a: [", "available_node_types: 3"):
        (at_home / BOOTSTRAP).write_text(broken)
        assert may_come() == []


def test_kinds_are_read_from_what_ray_up_has_left(at_home: Path) -> None:
    (at_home / BOOTSTRAP).write_text(CONFIG)
    assert may_come() == [Node(8, 1), Node(16)]


def test_kinds_are_read_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, '[{"CPU": 8, "GPU": 2}]')
    assert may_come() == [Node(8, 2)]
    monkeypatch.setenv(VARIABLE, "8 CPUs")
    with pytest.raises(UserError, match="TUNER_NODE_TYPES: must be a JSON list"):
        may_come()
