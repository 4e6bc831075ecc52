"""A live run whose machines come and go, with workers that are played by the test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from played import Played

from tuner.core.events import StopAsked
from tuner.core.records import Lost, Machines
from tuner.engine import fleet, stops
from tuner.engine.machines import Node, Share
from tuner.errors import ClusterError
from tuner.trial import checkpoint
from tuner.trial.stopping import MARK

FIRST, SECOND = Node(1, name="first"), Node(1, name="second")


def played_on(folder: Path, *nodes: Node, **parts) -> Played:
    """Begin on the first of these machines; the others are there from the first look on."""
    played = Played(folder, slots=1, node=nodes[0], budget={"trials": 3, "epochs": 9}, **parts)
    look(played, *nodes)
    return played


class Looks:
    """What sees these machines, and keeps what it was told."""

    def __init__(self, nodes=None, refusal: str = "") -> None:
        self.nodes, self.refusal, self.told = nodes, refusal, []

    def __call__(self, more, first):
        self.told.append((more, first))
        return self.nodes


def look(played: Played, *nodes: Node) -> None:
    played.live.fleet.look = Looks(list(nodes))
    played.live.stops._looked = -stops.LOOK_SECONDS
    played.live.tick()


def test_new_room_is_a_record_and_is_used(tmp_path: Path) -> None:
    played = played_on(tmp_path, FIRST)
    assert played.live.hand_out() is not None
    assert played.live.hand_out() is None
    look(played, FIRST, SECOND)
    assert next(one for one in played.published if isinstance(one, Machines)).slots == 2
    assert played.core.run.slots == 2
    assert played.live.hand_out() is not None
    look(played, FIRST, SECOND)
    assert sum(isinstance(one, Machines) for one in played.published) == 1, "nothing has changed"


def test_it_tells_for_how_many_more_there_could_be_room(tmp_path: Path) -> None:
    played = played_on(tmp_path, FIRST)
    assert played.live.fleet.look.told == [(2, None)], "three trials, and room for one"


def test_a_trial_whose_machine_leaves_saves_its_next_report_and_goes_on_elsewhere(tmp_path: Path) -> None:
    played = played_on(tmp_path, FIRST, SECOND, checkpoint={"every": 100})
    works = [played.work(), played.work()]
    for work, node in zip(works, (SECOND, FIRST), strict=True):
        (tmp_path / "trials" / work.trial).mkdir(parents=True)
        played.live.fleet.runs_on(work.trial, node.name)
        assert played.report(work, 1, 0.5) == "go"
    look(played, FIRST, replace(SECOND, leaving=True))
    assert [(tmp_path / "trials" / work.trial / MARK).exists() for work in works] == [True, False]
    assert played.report(works[1], 2, 0.5) == "go"
    saved = works[0].checkpoint_name(2)  # as a trial does that sees the mark
    checkpoint.save(tmp_path / saved, {"count": 2})
    assert played.report(works[0], 2, 0.5, checkpoint=saved) == "stop"
    assert [(one.trial, one.cause) for one in played.published if isinstance(one, Lost)] == [("t0000", "machine")]
    assert played.live.hand_out() is None, "the other machine is full, and this one takes no more"
    look(played, FIRST, Node(1, name="third"))
    again = played.work()
    assert (again.trial, again.epoch) == ("t0000", 2)


def test_a_machine_that_was_found_dead_is_not_used_though_the_cluster_still_names_it(tmp_path: Path) -> None:
    played = played_on(tmp_path, FIRST, SECOND)
    works = [played.work(), played.work()]
    for work, node in zip(works, (FIRST, SECOND), strict=True):
        played.live.fleet.runs_on(work.trial, node.name)
    played.live.lost(works[1].trial, "the machine is gone", "second")
    look(played, FIRST, SECOND)
    assert (played.core.run.slots, played.live.hand_out()) == (1, None)
    played.live.fleet._dead["second"] -= fleet.DEAD_SECONDS
    look(played, FIRST, SECOND)
    assert played.work().trial == works[1].trial, "it was only slow to answer"


def test_a_run_waits_where_all_machines_are_gone(tmp_path: Path) -> None:
    played = played_on(tmp_path, FIRST)
    work = played.work()
    played.live.fleet.runs_on(work.trial, "first")
    played.live.lost(work.trial, "the machine is gone", "first")
    assert (played.core.run.slots, played.live.hand_out(), played.live.over) == (0, None, False)
    look(played, SECOND)
    assert played.work().trial == work.trial


def test_a_trial_that_is_first_heard_of_on_a_machine_that_leaves_saves_too(tmp_path: Path) -> None:
    played = played_on(tmp_path, FIRST, SECOND)
    work = played.work()
    (tmp_path / "trials" / work.trial).mkdir(parents=True)
    look(played, FIRST, replace(SECOND, leaving=True))
    played.live.fleet.runs_on(work.trial, "second")
    assert (tmp_path / "trials" / work.trial / MARK).exists()


def test_what_the_waiting_trial_asks_for_is_told(tmp_path: Path) -> None:
    entries = [{"when": {"batch_size": 64}, "cpus": 4}, {"cpus": 1}]
    played = Played(tmp_path, slots=1, node=Node(4, name="first"), resources=entries, fixed={}, space={
        "batch_size": {"dist": "choice", "values": [64]}, "x": {"dist": "float", "low": 0.0, "high": 1.0},
    })  # fmt: skip
    assert played.work() is not None
    played.core.run.slots = 2
    assert played.live.hand_out() is None
    look(played, Node(4, name="first"))
    assert played.live.fleet.look.told[-1][1] == Share(4, 0.0)
    played.live.interrupted = True
    look(played, Node(4, name="first"))
    assert played.live.fleet.look.told[-1] == (0, None), "where all come to their end nobody waits"


def test_a_trial_that_was_stopped_while_it_waited_asks_for_no_machine_any_more(tmp_path: Path) -> None:
    parts = {"resources": {"cpus": 4}, "budget": {"trials": 2, "epochs": 4}}
    played = Played(tmp_path, slots=2, node=Node(4, name="first"), **parts)
    played.work()
    played.core.run.slots = 2
    assert played.live.hand_out() is None
    look(played, Node(4, name="first"))
    assert played.live.fleet.look.told == [(1, Share(4, 0.0))]
    played.live.commit(StopAsked(trial="t0001"))
    assert played.live.hand_out() is None
    look(played, Node(4, name="first"))
    assert played.live.fleet.look.told == [(0, None)]


def test_a_run_ends_where_no_machine_that_is_there_is_of_use(tmp_path: Path) -> None:
    played = played_on(tmp_path, FIRST)
    played.live.fleet.look = Looks([FIRST], refusal="10.0.0.2: storage: /runs must be shared")
    played.live.stops._looked = -stops.LOOK_SECONDS
    played.live.tick()
    assert played.live.error is None, "there is room on another"
    played.live.fleet.look.nodes = []
    played.live.stops._looked = -stops.LOOK_SECONDS
    played.live.tick()
    assert isinstance(played.live.error, ClusterError)
    assert "must be shared" in str(played.live.error)


def test_paused_trials_need_no_machine_but_where_they_go_on_by_themselves(tmp_path: Path) -> None:
    for kind, counted in (("none", 1), ("pbt", 3)):
        parts = {"kind": "pbt", "interval_epochs": 1} if kind == "pbt" else {"kind": "none"}
        (tmp_path / kind).mkdir()
        played = Played(tmp_path / kind, slots=9, scheduler=parts, budget={"trials": 3, "epochs": 4})
        for _ in range(3):
            played.work()
        for trial in list(played.core.run.trials.values())[1:]:
            trial.status = "paused"
        assert played.live.fleet.at_once() == counted
        assert played.live.fleet.at_once(2) == min(2, counted)
