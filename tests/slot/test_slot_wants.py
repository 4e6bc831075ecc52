"""A trial that is silent, speaks seldom, or finds no room on the disk or in memory: what the slot says of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from .bench import Bench, hear

pytestmark = pytest.mark.slow

COUNTS = """
def train(trial):
    for epoch in trial.epochs():
        trial.report(loss=epoch)
"""
HANGS = """
import signal, time
def waits_for_ever():
    while True:
        time.sleep(1)
def train(trial):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    trial.report(loss=1)
    waits_for_ever()
"""


PLODS = """
import time
def train(trial):
    for epoch in trial.epochs():
        time.sleep(0.7)
        trial.report(loss=epoch)
"""


def test_reports_that_wait_for_no_decision_are_gathered_for_a_beat(bench: Bench) -> None:
    slot, said = bench.slot(PLODS), [[{"event": "beat"}]]
    slot.begin(bench.assignment(judged_at=frozenset(), beat=60.0))
    while said[-1][-1]["event"] == "beat":  # the module is being imported
        said.append(slot.stretch())
    assert [event["epoch"] for event in said[-1]] == [1, 2, 3]


def test_a_beat_tells_how_long_the_trial_has_been_silent(bench: Bench) -> None:
    slot = bench.slot(HANGS)
    slot.begin(bench.assignment(judged_at=frozenset()))
    assert hear(slot)["event"] == "report"
    silent = [slot.step()["silent"] for _ in range(3)]
    assert silent == sorted(silent)
    assert silent[-1] > 2


@pytest.mark.parametrize(("patience", "asked"), [(0.5, True), (1000.0, False)])
def test_a_trial_that_was_silent_for_long_tells_what_it_does_before_it_is_killed(
    bench: Bench, patience: float, asked: bool
) -> None:
    slot = bench.slot(HANGS)
    slot.begin(bench.assignment(judged_at=frozenset(), patience=patience))
    assert hear(slot)["event"] == "report"
    assert slot.step()["event"] == "beat"
    slot.begin(bench.assignment("t1"))
    assert ("waits_for_ever" in bench.log()) == asked


def test_a_disk_without_room_for_a_trials_own_files_is_no_fault_of_the_trial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = bench.slot(COUNTS)

    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("tuner.slot.slot.write_whole", full)
        (event,) = bench.run(slot)
    assert (event["event"], event["cause"]) == ("lost", "disk")
    assert bench.run(slot)[-1]["event"] == "returned", "and goes on when there is room"


@pytest.mark.parametrize(
    "body",
    [
        "raise MemoryError('no more')",
        "raise RuntimeError('[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can\\'t allocate memory')",
        "class OutOfMemoryError(RuntimeError): pass\n    raise OutOfMemoryError('CUDA out of memory')",
        "import numpy\n    numpy.zeros(10**14)",
    ],
)
def test_out_of_memory_is_an_outcome_of_its_own(bench: Bench, body: str) -> None:
    (event,) = bench.run(bench.slot(f"def train(trial):\n    {body}"))
    assert (event["event"], event["outcome"]) == ("failed", "infeasible")
    assert event["reason"].startswith("out of memory: ")


def test_other_errors_of_the_runtime_are_failures(bench: Bench) -> None:
    (event,) = bench.run(bench.slot("def train(trial):\n    raise RuntimeError('shapes do not fit')"))
    assert "outcome" not in event


def test_no_room_for_what_the_function_writes_is_no_fault_of_the_trial(bench: Bench) -> None:
    (event,) = bench.run(bench.slot("def train(trial):\n    open('/dev/full', 'w').write('x' * 100_000)"))
    assert (event["event"], event["cause"]) == ("lost", "disk")


SPLITS = """
import torch
def train(trial):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trial.track(model=model, optimizer=optimizer)
    for epoch in trial.epochs():
        largest = 0
        for batch in trial.batches([torch.zeros(8, 2)]):
            largest = max(largest, len(batch))
            if len(batch) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
        trial.report(loss=largest)
"""


def test_whether_batches_could_come_in_parts_is_told_and_then_they_do(bench: Bench) -> None:
    slot = bench.slot(SPLITS)
    (event,) = bench.run(slot)
    assert (event["outcome"], event["splits"]) == ("infeasible", True)
    events = bench.run(slot, bench.assignment(parts=2, attempt="1.1"))
    assert [event["metrics"]["loss"] for event in events[:-1]] == [4, 4, 4]
