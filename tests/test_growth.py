"""Which machines may still join a cluster: what `ray up` has left, or a variable."""

from __future__ import annotations

from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from core.experiments import experiment

from tuner.engine import cluster
from tuner.engine.growth import BOOTSTRAP, MOST_WISHES, VARIABLE, Wishes, may_come
from tuner.engine.machines import Node, Share
from tuner.engine.watch import Watch
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


class Group:
    """A placement group that is played."""

    made: ClassVar[list[Group]] = []

    def __init__(self, bundles: list[dict[str, float]]) -> None:
        self.bundle, self.granted, self.removed = bundles[0], False, False
        Group.made.append(self)

    def wait(self, seconds: float) -> bool:
        return self.granted

    @staticmethod
    def waiting() -> list[dict[str, float]]:
        return [group.bundle for group in Group.made if not group.removed]


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> Wishes:
    import ray.util

    Group.made = []
    monkeypatch.setattr(ray.util, "placement_group", Group)
    monkeypatch.setattr(ray.util, "remove_placement_group", lambda group: setattr(group, "removed", True))
    spec = experiment(resources=[{"when": {"x": 0.5}, "gpus": 1}, {"cpus": 2}], budget={"trials": 9, "epochs": 2})
    return Wishes(spec, [Node(8, 1)])


def test_as_many_wait_as_there_could_be_trials(wishes: Wishes) -> None:
    for more, waiting in ((3, 3), (99, MOST_WISHES), (2, 2), (-1, 0), (1, 1), (0, 0)):
        wishes.renew(more)
        assert Group.waiting() == [{"CPU": 2}] * waiting, more


def test_what_is_granted_is_set_free_for_a_trial_before_it_is_wished_for_anew(wishes: Wishes) -> None:
    wishes.renew(2)
    first = Group.made[0]
    first.granted = True
    wishes.renew(2)
    assert first.removed
    assert len(Group.waiting()) == 1, "a new one would take the place before the trial does"
    wishes.renew(2)
    assert len(Group.waiting()) == 2


def test_the_trial_that_waits_is_wished_for_first(wishes: Wishes) -> None:
    wishes.renew(2)
    wishes.renew(-1, Share(1, 1.0))
    assert Group.waiting() == [{"CPU": 1, "GPU": 1.0}]
    wishes.renew(3, Share(99, 1.0))
    assert Group.waiting() == [], "no machine that may come would hold it"


def test_a_machine_that_could_not_be_asked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    here, new = Node(1, name="here"), Node(1, name="new")
    monkeypatch.setattr(cluster, "machines", lambda: [here, new])
    answers: list[Any] = [RuntimeError("the head did not answer"), {"new": "it sees another folder"}, {"new": new}]

    def admit(nodes: Any) -> Any:
        assert nodes == [new]
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    said: list[str] = []
    watch = Watch([here], admit, said.append, SimpleNamespace())

    def look() -> list[Node]:
        """Look, and have what was asked by then answered."""
        seen = watch._look()
        if watch._asked is not None:
            wait([watch._asked])
        return seen

    assert look() == [here]
    with pytest.raises(RuntimeError, match="the head did not answer"):
        look()
    assert look() == [here], "asked once more"
    assert look() == [here]
    assert (watch.refusal, len(said)) == ("it sees another folder", 1)
    watch._refused["new"] = 0.0, "it sees another folder"
    assert look() == [here]
    assert look() == [here, new]
    assert watch.refusal == ""


def test_why_machines_are_not_used_is_told_while_another_is_refused() -> None:
    watch = Watch([], lambda nodes: {}, print, SimpleNamespace())

    class Refused(tuple[float, str]):
        def __iter__(self) -> Any:
            """Have the thread refuse another machine in this very moment."""
            watch._refused["second"] = 0.0, "the second"
            return super().__iter__()

    watch._refused["first"] = Refused((0.0, "the first"))
    assert watch.refusal == "the first"
    assert watch.refusal == "the first\nthe second"
