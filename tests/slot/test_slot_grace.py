"""What a function may still do after its last report, and what is said of one that takes too long."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tuner.slot.slot import Slot

from .bench import PATIENCE, Bench, hear

pytestmark = pytest.mark.slow


def next_trial(slot: Slot, bench: Bench) -> None:
    slot.begin(bench.assignment("t1"))


def at_its_end(slot: Slot, bench: Bench) -> None:
    slot.end()


def at_the_end_of_all(slot: Slot, bench: Bench) -> None:
    slot.close()


@pytest.mark.parametrize("over", [next_trial, at_its_end, at_the_end_of_all])
def test_a_function_may_return_some_time_after_its_last_report(
    bench: Bench, over: Callable[[Slot, Bench], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.slot.slot.EXIT_SECONDS", PATIENCE)
    slot = bench.slot(
        """
        import time
        def train(trial):
            for epoch in trial.epochs():
                trial.report(loss=1)
            time.sleep(0.5)
            (trial.folder / "done").write_text("done")
        """
    )
    slot.begin(bench.assignment())
    assert [hear(slot)["epoch"] for _ in range(3)] == [1, 2, 3]
    over(slot, bench)
    assert (bench.root / "run" / "trials" / "t0" / "done").exists()
    assert bench.log() == ""


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("time.sleep(1000)", "its function had not returned 0.1 s after its last report and was ended"),
        ("threading.Thread(target=time.sleep, args=[1000]).start()", "its process had not ended 0.1 s after its fun"),
    ],
)
@pytest.mark.parametrize("over", [next_trial, at_its_end, at_the_end_of_all])
def test_what_is_cut_off_after_the_last_report_is_in_the_log(
    bench: Bench, over: Callable[[Slot, Bench], None], rest: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.slot.slot.EXIT_SECONDS", 0.1)
    slot = bench.slot(f"import threading, time\ndef train(trial):\n    trial.report(loss=1)\n    {rest}")
    slot.begin(bench.assignment(epochs=1))
    hear(slot)
    if rest.startswith("threading"):
        assert hear(slot)["event"] == "returned"
    over(slot, bench)
    (line,) = bench.log().split("\n")[1:-1]
    assert line.startswith(f"note: {said}")


def test_a_trial_that_is_stopped_early_is_not_waited_for_and_no_note_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.slot.slot.EXIT_SECONDS", 10_000.0)
    for over in (next_trial, at_its_end, at_the_end_of_all):
        slot = bench.slot("import time\ndef train(trial):\n    trial.report(loss=1)\n    time.sleep(1000)")
        slot.begin(bench.assignment())
        hear(slot)
        over(slot, bench)
        assert bench.log() == ""


@pytest.mark.timeout(60)
def test_one_that_trains_beyond_its_last_epoch_is_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.slot.slot.EXIT_SECONDS", 10_000.0)
    slot = bench.slot("import time\ndef train(trial):\n    for _ in range(100):\n        trial.report(loss=1)")
    slot.begin(bench.assignment(epochs=1))
    hear(slot)
    child = slot._child
    slot.begin(bench.assignment("t1"))
    assert child is not None
    assert child.status == -signal.SIGKILL
