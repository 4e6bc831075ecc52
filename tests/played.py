"""A live run with workers that are played by the test: no Ray, no processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuner.core.records import SCHEMA, Header, Record, Session
from tuner.core.run import Core
from tuner.core.search.kinds import make_asker
from tuner.core.state import RunState
from tuner.engine.live import LiveRun
from tuner.engine.machines import Node
from tuner.engine.placement import Placement
from tuner.ledger import Ledger
from tuner.spec.experiment import Experiment
from tuner.trial import Assignment, Trial, checkpoint, randomness
from tuner.trial.channel import Costs

LARGE = Node(1000, 100)
"""A machine on which all trials of a test fit."""


def experiment(**parts: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "trainable": "module:function",
            "objective": {"metric": "score", "mode": "max"},
            "budget": {"trials": 8, "epochs": 4},
            "space": {"x": {"dist": "float", "low": 0.0, "high": 1.0}},
            "fixed": {"batch_size": 64},
            "search": {"kind": "random"},
            "scheduler": {"kind": "none"},
            **parts,
        }
    )


class Played:
    """A live run in a folder, and what it published."""

    def __init__(self, folder: Path, slots: int = 3, node: Node = LARGE, home: str = ".", **parts: Any) -> None:
        if "confirm" in parts:  # else there would be more slots for the repeats
            parts.setdefault("resources", {"max_trials": slots})
        self.folder, self.spec = folder, experiment(**parts)
        self.published: list[Record] = []
        self._reported: dict[tuple[str, int, str], int] = {}
        """The last report of each stint."""
        if not (folder / "ledger").exists():
            ledger = Ledger(folder)
            ledger.append(Header(schema=SCHEMA, name="r", spec=self.spec.model_dump(), folder=home))
            ledger.close()
        self.ledger = Ledger(folder)
        self.core = Core(self.spec, make_asker(self.spec))
        for record in self.ledger.records:
            self.core.apply(record)
        placement = Placement(self.spec, [node])
        self.live = LiveRun(self.core, self.ledger, str(folder), self.published.append, placement)
        session = Session(attempt=self.core.run.attempt + 1, host="h", pid=1, slots=slots, versions={}, card=node.card)
        self.core.apply(self.ledger.append(session))

    def close(self) -> None:
        self.ledger.close()

    def work(self) -> Assignment:
        assignment = self.live.hand_out()
        assert assignment is not None
        return assignment

    def report(self, work: Assignment, epoch: int, score: float, **more: Any) -> str:
        stint = work.trial, work.generation, work.attempt
        saved = work.checkpoint_name(epoch) if work.saves(self._reported.get(stint, work.epoch), epoch) else None
        self._reported[stint] = epoch
        if saved:
            checkpoint.save(self.folder / saved, {"count": epoch}, kinds={})
        metrics = {"score": score}
        event = {
            "event": "report", "epoch": epoch, "metrics": metrics, "checkpoint": saved, "seconds": 0.1, "memory": 1,
            **more,
        }  # fmt: skip
        return self.live.heard(work.trial, work.generation, event, "node", "worker")

    def fail(self, work: Assignment, reason: str = "ValueError: x", **more: Any) -> str:
        event: dict[str, Any] = {"event": "failed", "reason": reason, "error": f"Traceback\n{reason}", **more}
        return self.live.heard(work.trial, work.generation, event)

    def say(self, work: Assignment, event: str, **more: Any) -> str:
        more = {"silent": 0.0, **more} if event == "beat" else more
        return self.live.heard(work.trial, work.generation, {"event": event, **more})

    def run(
        self, score: Callable[[Assignment, int], float] = lambda work, epoch: work.params["x"] * epoch, every: int = 1
    ) -> int:
        """Work like a cluster until nothing is handed out; returns the most workers that there were at once.

        A report comes `every` so many epochs, and at the last one.
        """
        stints: list[tuple[Assignment, int]] = []
        most = 0
        while True:
            while (work := self.live.hand_out()) is not None:
                stints.append((work, work.epoch))
            most = max(most, len(stints))
            assert {work.trial for work, _ in stints} == self.live.working
            if not stints:
                return most
            work, epoch = stints.pop(0)
            epoch = min(epoch + every, work.epochs)
            if self.report(work, epoch, score(work, epoch)) == "go":
                stints.append((work, epoch))


class Channel:
    """Hands the reports of a trial in this process to a run that is played."""

    def __init__(self, played: Played, work: Assignment) -> None:
        self.played, self.work = played, work

    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, costs: Costs) -> None:
        """Have the run hear of it."""
        event = {"event": "report", "epoch": epoch, "metrics": metrics, "checkpoint": checkpoint, **asdict(costs)}
        self.played.live.heard(self.work.trial, self.work.generation, event)

    def full(self, reason: str) -> None:
        """Find no room."""
        raise OSError(reason)


def trained(folder: Path, function: Callable[..., Any], **parts: Any) -> RunState:
    """Train all trials of a run in this process, one after the other."""
    played = Played(folder, slots=1, **parts)
    while (work := played.live.hand_out()) is not None:
        randomness.seed_all(work.seed)
        function(Trial(work, Channel(played, work)), **work.params)
    played.close()
    return played.core.run
