"""A live run that sizes the GPU shares of its trials, with workers that are played by the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from played import Played

from tuner.core.records import Given, Probed
from tuner.engine.machines import Node
from tuner.trial import Assignment

GIB = 2**30
SPACE = {"depth": {"dist": "int", "low": 1, "high": 16}}
AUTO: dict[str, Any] = {
    "space": SPACE, "resources": {"gpus": "auto"}, "budget": {"trials": 40, "epochs": 4},
}  # fmt: skip
NODE = Node(16, 1, card=16 * GIB)


def took(work: Assignment) -> int:
    return int(work.params["depth"]) * GIB // 2


def until_packed(played: Played, level: int) -> None:
    """Work alone, then side by side, each as fast as alone, until so many may share the GPU."""
    while played.core.run.gpus.packing.level < level:
        works = []
        while (work := played.live.hand_out()) is not None:
            if work.task == "probe":
                probed(played, work)
            else:
                works.append(work)
        for epoch in range(1, 5):
            for work in works:
                played.report(work, epoch, 0.5, gpu_memory=took(work), step=0.1)


def probed(played: Played, work: Assignment) -> str:
    return played.say(work, "probed", gpu_memory=took(work), context=GIB // 4, step=0.1)


def test_first_one_trial_a_gpu_then_as_many_as_fit_and_as_help(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=8, node=NODE, **AUTO)
    first = played.work()
    assert (first.task, first.gpus) == ("train", 1.0)
    assert played.live.hand_out() is None, "nobody shares a GPU yet"
    for epoch in range(1, 5):
        played.report(first, epoch, 0.5, gpu_memory=took(first), step=0.1)
    until_packed(played, 4)
    run = played.core.run
    assert run.gpus.packing.sums == {1: 1.0, 2: 2.0}
    for trial in (trial for trial in run.trials.values() if trial.given and trial.given.gpus < 1):
        assert trial.given is not None
        assert trial.params["depth"] * GIB // 2 + GIB // 4 < trial.given.memory, "it fits, with its context"


def test_a_trial_is_measured_first_and_a_resumed_run_gives_it_the_same(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=8, node=NODE, **AUTO)
    until_packed(played, 2)
    works = [played.work()]
    while works[-1].task != "probe":
        works.append(played.work())
        if len(works) > 2:  # the GPU is full, and all are known: let them end
            for work in works:
                played.report(work, 4, 0.5, gpu_memory=took(work), step=0.1)
            works = [played.work()]
    probe = works[-1]
    assert probe.gpus == 1.0
    played.close()

    again = Played(tmp_path, slots=8, node=NODE, **AUTO)
    assert again.core.run.gpus.packing.level == 2
    resumed = again.work()
    while resumed.trial != probe.trial:
        again.report(resumed, 4, 0.5, gpu_memory=took(resumed), step=0.1)
        resumed = again.work()
    assert (resumed.task, resumed.gpus) == ("probe", 1.0), "it was killed before it was measured"
    assert probed(again, resumed) == "stop"
    share = again.work()
    assert (share.trial, share.task, share.context) == (probe.trial, "train", GIB // 4)
    again.close()

    third = Played(tmp_path, slots=8, node=NODE, **AUTO)
    same = third.work()
    assert (same.trial, same.task, same.gpus) == (share.trial, "train", share.gpus), "it is known by now"
    kinds = [record for record in third.core.run.trials.values() if record.probed]
    assert [trial.id for trial in kinds][-1] == probe.trial


def test_what_a_trial_is_given_is_written_down_once_for_each_change(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=8, node=NODE, **AUTO)
    until_packed(played, 2)
    given = [record for record in played.published if isinstance(record, Given)]
    for name in {record.trial for record in given}:
        own = [record for record in played.published if getattr(record, "trial", "") == name]
        kept = [(record.gpus, record.probe) for record in own if isinstance(record, Given)]
        assert len(kept) == len(set(kept)) == 1 + sum(isinstance(record, Probed) for record in own)
