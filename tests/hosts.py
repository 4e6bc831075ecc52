"""What tests of faults need: drivers that leave nothing, a small cluster, and what must hold at last."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from support import IDLE, command, decided_alike, environment, records, reports, trained, wait_for

from tuner.core.records import Lost
from tuner.core.state import RunState, replay
from tuner.engine.beside import lean
from tuner.ledger import read
from tuner.storage import machine

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

FLAGS = ("--space", "mine.yaml", "--name", "r", "--no-dashboard")
STEADY = """
import time

class Counter:
    def __init__(self): self.n = 0
    def state_dict(self): return {"n": self.n, "weights": [0.1] * SIZE}
    def load_state_dict(self, state): self.n = state["n"]

SIZE = 10

def train(trial, *, lr, sleep=0.1):
    counter = Counter()
    trial.track(counter=counter)
    for epoch in trial.epochs():
        time.sleep(sleep)
        counter.n += 1
        assert counter.n == epoch
        print("trained", epoch, flush=True)
        trial.report(loss=lr / counter.n)
"""


def slowly(write: Callable[..., Any], folder: Path, **sections: object) -> Path:
    """Write a trainable that is slow as long as a file exists, so that no trial ends too early; returns the file."""
    (slow := folder / "slow").touch()
    code = "import os\n" + STEADY.replace("sleep(sleep)", f"sleep(0.5 if os.path.exists({str(slow)!r}) else 0.02)")
    write(code, scheduler={"kind": "none"}, **sections)
    return slow


class Driver:
    """A driver in a process of its own, which ends with this block however the test ends."""

    def __init__(
        self, folder: Path, flags: Sequence[str] = FLAGS, *, run: Path | None = None,
        argv: Sequence[str] = (), before: Sequence[str] = (), **more: str,
    ) -> None:  # fmt: skip
        self.folder, self.run = folder, run or folder / "runs" / "r"
        self._output = folder / f"said-{time.monotonic_ns()}"
        with self._output.open("w") as file:
            self.process = subprocess.Popen(
                [*before, *(argv or command(*flags))], cwd=folder, env={**environment(), **more},
                stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.pid = self.process.pid

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        kill(self.below())

    def said(self) -> str:
        """Read what the user sees."""
        return self._output.read_text()

    def below(self, mark: str = "") -> list[psutil.Process]:
        """Find the processes of its run that live, also orphans: they work in its folder, or name that of its Ray."""
        found = []
        for process in psutil.process_iter():
            try:
                spelled, where = " ".join(process.cmdline()), Path(process.cwd())
            except psutil.Error:
                continue
            mine = f"/{machine.mark(self.pid)}-" in spelled or where.is_relative_to(self.folder)
            if spelled and mine and mark in spelled and process.pid != self.pid:
                found.append(process)
        return found

    def until(self, count: int) -> None:
        """Wait for so many reports of the run."""
        self.until_holds(lambda: len(reports(self.run)) >= count)

    def until_said(self, text: str) -> None:
        """Wait until the user has read something."""
        self.until_holds(lambda: text in self.said())

    def until_lost(self) -> None:
        """Wait until a trial of the run is lost."""
        self.until_holds(lambda: any(isinstance(record, Lost) for record in records(self.run)))

    def until_holds(self, condition: Callable[[], Any]) -> None:
        """Wait until something holds while it runs; fails with what it said where it has ended."""
        wait_for(lambda: self.process.poll() is not None or condition())
        assert self.process.poll() is None, self.said()

    def ends(self, code: int, alone: bool = True) -> str:
        """Wait for its end, after which nothing of it lives, where its Ray is its own; returns what it said."""
        try:
            got = self.process.wait(240)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it hangs; it said:\n{self.said()}")
        said = self.said()
        assert got == code, f"exit {got}:\n{said}"
        assert "Traceback" not in said, said
        deadline = time.monotonic() + 20
        while alone and (left := self.below()):
            assert time.monotonic() < deadline, f"left behind: {left}\n{said}"
            time.sleep(0.1)
        return said


def spelled(process: psutil.Process) -> str:
    """Give its command line; empty where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill(processes: Sequence[psutil.Process]) -> None:
    """Kill them one after the other; who is gone is gone."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue


def holds(run: Path, deaths: int) -> RunState:
    """Hold what was trained against what was recorded; each death may cost a trial the epoch in progress."""
    decided_alike(run)
    state, known = replay(read(run)), trained(run)
    for name, trial in state.trials.items():
        heard = [report.epoch for report in reports(run) if report.trial == name]
        assert heard == list(range(1, trial.epoch + 1)), f"{name}: no epoch is skipped, none recorded twice"
        assert set(heard) <= set(known[name]), f"{name}: what is recorded was trained"
        assert len(known[name]) - len(set(known[name])) <= deaths, f"{name}: trained twice what was saved"
    return state


def all_finished(state: RunState, epochs: int) -> bool:
    """Tell whether every trial came to its last epoch."""
    return {(trial.outcome, trial.epoch) for trial in state.trials.values()} == {("finished", epochs)}


@contextmanager
def nodes(monkeypatch: pytest.MonkeyPatch, *asked: dict[str, Any]) -> Iterator[tuple[Cluster, list[Any]]]:
    """Start a cluster of such nodes, the head first, in a folder where nobody else finds it."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="rc", dir="/tmp") as scratch:
        monkeypatch.setenv("RAY_TMPDIR", scratch)
        monkeypatch.setenv(IDLE, "0")
        (Path(scratch) / "ray").mkdir()
        head = {**asked[0], "temp_dir": scratch, "no_monitor": True}
        cluster = Cluster()
        try:
            with lean(dashboard=False):  # none of the processes that no test looks at
                made = [cluster.add_node(include_log_monitor=False, **one) for one in (head, *asked[1:])]
            yield cluster, made
        finally:
            cluster.shutdown()


@contextmanager
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, Any]]:
    """Start a cluster of a head and another node, of one CPU each."""
    with nodes(monkeypatch, {"num_cpus": 1}, {"num_cpus": 1}) as (cluster, (_, other)):
        yield cluster, other
