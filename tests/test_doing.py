"""What a slot is doing, as it is told to people."""

import math
from pathlib import Path
from typing import Any

import pytest

from tuner.engine.doing import TITLE, Doing
from tuner.engine.numbers import SLOT, number_workers
from tuner.trial import Assignment


def assignment(**more: Any) -> Assignment:
    given: dict[str, Any] = {"params": {"lr": 0.123456, "width": 16, "batch_size": 64}, **more}
    return Assignment(run="/somewhere/runs/resnet", trial="t0003", seed=0, metric="acc", epochs=9, **given)


def doing(**more: Any) -> Doing:
    return Doing(assignment(**more), ("lr", "width", "inactive"))


def report(epoch: int, value: float) -> dict[str, Any]:
    return {"event": "report", "epoch": epoch, "metrics": {"acc": value, "loss": 1.0}, "seconds": 2.0, "memory": 1}


def test_a_title_names_trial_epoch_metric_and_what_is_searched() -> None:
    it = doing()
    assert it.title("resnet slot 1") == "ray::resnet slot 1: t0003 epoch 0/9 lr=0.1235 width=16"
    it.hear([report(1, 0.5), {"event": "beat", "silent": 1.0}, report(2, 0.97531)])
    assert it.title("resnet slot 1") == "ray::resnet slot 1: t0003 epoch 2/9 acc=0.9753 lr=0.1235 width=16"


def test_a_title_stays_short() -> None:
    long = Doing(assignment(params={"text": "x" * 999}), ("text",))
    assert len(long.title("resnet slot 1")) == TITLE


def test_where_a_trial_begins() -> None:
    assert doing().begins() == "t0003 begins from nothing: lr=0.1235 width=16"
    checkpoint = "trials/t0003/checkpoints/g0_e0004_a1.0"
    assert f"after epoch 4, from {checkpoint}:" in doing(checkpoint=checkpoint, epoch=4).begins()


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        ([report(9, 0.9)], "t0003 ends, epoch 9/9 acc=0.9: finished"),
        ([report(3, 0.9)], "t0003 ends, epoch 3/9 acc=0.9: stopped"),
        ([report(3, math.nan)], "t0003 ends, epoch 3/9 acc=nan: diverged"),
        ([], "t0003 ends, epoch 0/9: stopped"),
        ([{"event": "returned"}], "t0003 ends, epoch 0/9: returned"),
        (
            [report(1, 0.5), {"event": "failed", "outcome": "failed", "reason": "ValueError: no", "error": "…"}],
            "t0003 ends, epoch 1/9 acc=0.5: failed: ValueError: no",
        ),
        ([{"event": "lost", "reason": "killed by signal 9"}], "t0003 ends, epoch 0/9: lost: killed by signal 9"),
    ],
)
def test_how_a_trial_ended(heard: list[dict[str, Any]], told: str) -> None:
    it = doing()
    it.hear(heard)
    assert it.ends() == told


def test_logs_of_all_ranks_are_linked_and_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    it = doing(ranks=2)
    for _ in range(2):
        it.link_logs(tmp_path, it.assignment.folder)
    links = {path.name: str(path.readlink()) for path in (tmp_path / "tuner" / "resnet").iterdir()}
    assert links == {
        "t0003-log.txt": "/somewhere/runs/resnet/trials/t0003/log.txt",
        "t0003-log.rank1.txt": "/somewhere/runs/resnet/trials/t0003/log.rank1.txt",
    }
    it.link_logs(Path("/proc/nowhere"), it.assignment.folder)


class Actors:
    """What is used here of Ray Tune's actor manager."""

    def __init__(self) -> None:
        self.all_actors: list[Any] = []

    def add_actor(self, *, kwargs: dict[str, Any], cls: type) -> Any:
        self.all_actors.append(actor := object())
        self.last = kwargs["config"][SLOT]
        return actor


def test_a_new_worker_gets_the_least_free_number() -> None:
    actors, shared = Actors(), {"config": {"other": 1}}
    number_workers(actors)
    number_workers(actors)  # it is asked to at each trial
    numbers = []
    for dies in (None, None, None, 1, 0, None):
        if dies is not None:
            del actors.all_actors[dies]
        actors.add_actor(kwargs=shared, cls=object)
        numbers.append(actors.last)
    assert numbers == [0, 1, 2, 1, 0, 3]
    assert shared == {"config": {"other": 1}}
