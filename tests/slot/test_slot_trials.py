"""What crosses from one process of a trial to the next: checkpoints, clones, and the test of the best."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.slot.code import Code

from .bench import Bench, eventually, hear, until_end

ROOT = str(Path(__file__).parents[2])
TINY: dict[str, Any] = {"lr": 0.05, "width": 4, "stages": 1, "train_size": 96, "batch_size": 32, "mixup": 0.2}
TOY = Code(module="trainables.toy", function="train", root=ROOT)


def metrics(events: list[Any]) -> list[dict[str, float]]:
    return [event["metrics"] for event in events if event["event"] == "report"]


def test_a_resnet_that_is_killed_goes_on_as_if_it_was_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(bench.root / "cache"))
    slot = bench.slot(Code(module="trainables.resnet", function="train", root=ROOT))
    given = bench.assignment("whole", params=TINY, metric="val_loss")
    whole = metrics(bench.run(slot, given))
    assert len(whole) == 3
    slot.begin(replace(given, trial="cut"))
    first = hear(slot)
    slot.step()  # it is on its way through the second epoch when it is killed
    resumed = replace(given, trial="cut", checkpoint=first["checkpoint"], epoch=1, attempt="1.1")
    assert [first["metrics"], *metrics(bench.run(slot, resumed))] == whole

    tested = bench.run(slot, replace(resumed, task="test"))
    assert [event["event"] for event in tested] == ["tested"]
    assert set(tested[0]["metrics"]) == {"test_accuracy", "test_loss"}


def test_a_clone_begins_where_its_donor_was(bench: Bench) -> None:
    slot = bench.slot(TOY)
    donor = bench.run(slot, bench.assignment(params={"x": 0.3}))
    clone = bench.assignment("t1", params={"x": 0.3}, checkpoint=donor[1]["checkpoint"], epoch=2, cloned=True)
    (event, _) = bench.run(slot, clone)
    assert (event["epoch"], event["metrics"]["steps"]) == (3, 3)
    assert event["checkpoint"].startswith("trials/t1/")


@pytest.mark.parametrize(
    ("body", "event", "what"),
    [
        ("trial.test(lambda: {'acc': 1})\n    for _ in trial.epochs(): pass", "tested", {"acc": 1.0}),
        ("trial.test(lambda: {'acc': 1})\n    trial.report(loss=1)", "tested", {"acc": 1.0}),
        ("trial.test(lambda: {'acc': 1})", "tested", {"acc": 1.0}),
        ("return {'acc': 2}", "tested", {"acc": 2.0}),
        ("pass", "tested", {}),
        ("return 5", "failed", "UserError: trial.test: must get a mapping or keywords, but got 5."),
        ("import sys; sys.exit(0)", "failed", "sys.exit(0)"),
        ("import os; os._exit(0)", "failed", "its process ended with exit code 0 in the middle of the trial"),
    ],
)
def test_the_test_of_the_best(bench: Bench, body: str, event: str, what: Any) -> None:
    slot = bench.slot(f"def train(trial):\n    {body}")
    slot.begin(bench.assignment(task="test"))
    (said,) = until_end(slot)
    assert said["event"] == event
    assert (said["metrics"] if event == "tested" else said["reason"]) == what


def test_a_torn_checkpoint_is_a_failure_that_names_the_file(bench: Bench) -> None:
    slot = bench.slot(TOY)
    first, *later = bench.run(slot, bench.assignment(params={"x": 0.3}))
    (bench.root / "run" / first["checkpoint"] / "progress.json").write_text("{")
    for event in later[:-1]:
        shutil.rmtree(bench.root / "run" / event["checkpoint"])
    given = bench.assignment(params={"x": 0.3}, checkpoint=first["checkpoint"], epoch=1, attempt="1.1")
    (event,) = bench.run(slot, given)
    assert event["reason"].startswith("Invalid: ")
    assert "progress.json: size or checksum does not fit" in event["reason"]
    assert event["misuse"] is False


def test_a_trial_runs_on_where_its_report_is_not_judged(bench: Bench) -> None:
    """Five epochs, judged at the second and, passed over by the fourth report, at the third; at last it waits again."""
    slot = bench.slot(
        """
        from pathlib import Path
        def train(trial):
            for epoch in (1, 2, 4, 5, 6):
                trial.report(loss=epoch, epoch=epoch)
                (trial.folder / f"after{epoch}").touch()
        """
    )
    assignment = bench.assignment(epochs=9, judged_at=frozenset({2, 3}))
    passed = lambda: {path.name for path in assignment.folder.glob("after*")}  # noqa: E731
    slot.begin(assignment)
    assert hear(slot)["epoch"] == 1
    eventually(lambda: passed() == {"after1"})
    assert hear(slot)["epoch"] == 2
    assert passed() == {"after1"}
    assert hear(slot)["epoch"] == 4
    assert passed() == {"after1", "after2"}
    assert [event.get("epoch") for event in until_end(slot)] == [5, 6, None]
