"""SIGKILL at random moments, again and again, until the run is through. `--kills 100` for the table in the docs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from hosts import spelled
from support import command, decided_alike, environment, records, trained, wait_for

from tuner.core.records import Record, Report
from tuner.core.state import RunState, replay
from tuner.ledger import read

TRAINABLE = """
import time

class Counter:
    def __init__(self): self.n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

def train(trial, *, x, y):
    counter = Counter()
    trial.track(counter=counter)
    for epoch in trial.epochs():
        time.sleep(0.15)
        counter.n += 1
        assert counter.n == epoch
        print("trained", epoch, flush=True)
        trial.report(loss=(x - 0.3) ** 2 + (y + 0.2) ** 2 + 0.5**epoch)
"""
FIRST = ("everything", "worker", "driver")
VICTIMS = ("driver", "driver", "driver", "everything", "trial", "worker", "zygote")
"""Those after the first ones, at random."""


def victims(driver: psutil.Process, which: str, folder: Path) -> list[psutil.Process]:
    """Find the processes that are to die."""
    if which == "driver":
        return [driver]
    below = driver.children(recursive=True)
    if which == "everything":
        return [driver, *below]
    marks = {"worker": "tuner slot", "zygote": "tuner.slot.zygote", "trial": "tuner.slot.zygote"}
    found = [process for process in below if marks[which] in spelled(process)]
    if which == "worker":
        found = [process for process in below if spelled(process).startswith("ray::")]
    zygotes = [process for process in found if process.parent() not in found]
    return zygotes if which == "zygote" else [p for p in found if which == "worker" or p not in zygotes][:1]


def kill(driver: psutil.Process, which: str, folder: Path) -> None:
    for process in victims(driver, which, folder):
        try:
            process.kill()
        except psutil.Error:
            continue


@pytest.mark.timeout(7200)
def test_killed_at_random_moments_it_loses_and_repeats_nothing(
    tmp_path: Path, launch, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(TRAINABLE)
    (tmp_path / "mine.yaml").write_text(
        "trainable: mine:train\nobjective: {metric: loss, mode: min}\n"
        f"budget: {{trials: {8 * kills}, epochs: 27}}\n"
        "space:\n  x: {dist: float, low: -1, high: 1}\n  y: {dist: float, low: -1, high: 1}\n"
    )
    dice, run, struck = random.Random(kills), tmp_path / "runs" / "r", Counter[str]()
    flags, told = ["--space", "mine.yaml", "--name", "r"], list[list[Record]]()
    for number in range(kills):
        before = len(records(run))
        with subprocess.Popen(
            command(*flags, "--no-dashboard"), cwd=tmp_path, env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as driver:  # fmt: skip
            which = FIRST[number] if number < len(FIRST) else dice.choice(VICTIMS)
            enough = before + dice.randrange(1, 30)
            wait_for(lambda enough=enough: driver.poll() is not None or len(records(run)) >= enough)
            time.sleep(dice.random() * 0.4)
            if driver.poll() is None:
                struck[which] += 1
                kill(psutil.Process(driver.pid), which, run)
                if which not in ("driver", "everything"):
                    time.sleep(dice.random() * 3)
                    os.kill(driver.pid, signal.SIGKILL)
        flags = ["--resume", "r"]
        told.append(records(run))
    said = launch("--resume", "r", "--set", f"budget.trials={8 * kills}", "--no-dashboard").stdout
    state = replay(read(run))
    again = _check(run, state)
    assert all(read(run)[: len(before)] == before for before in told), "what is recorded stands"
    decided_alike(run)
    assert "Best loss" in said
    with capsys.disabled():
        losses = sum(trial.losses for trial in state.trials.values())
        print(f"\n{sum(struck.values())} kills ({dict(struck)}), {losses} lost workers, {again} epochs trained twice")


def _check(run: Path, state: RunState) -> int:
    """Hold what was trained against what was recorded; returns how many epochs were trained twice."""
    assert state.finished()
    again = 0
    epochs = trained(run)
    reported: dict[str, list[int]] = {}
    for record in read(run):
        if isinstance(record, Report):
            reported.setdefault(record.trial, []).append(record.epoch)
    for name, trial in state.trials.items():
        assert trial.outcome in ("finished", "stopped"), (trial.outcome, trial.reason)
        known = reported.get(name, [])
        assert known == list(range(1, len(known) + 1)), "no epoch is skipped, none recorded twice"
        repeats = len(epochs[name]) - len(set(epochs[name]))
        # An epoch that was printed but not yet saved when its process died is trained again: at most one a death.
        assert repeats <= state.attempt - 1 + trial.losses
        again += repeats
    return again
