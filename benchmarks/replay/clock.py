"""A peer under a virtual clock: some asynchronous workers, each training one trial of a table at a time."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from benchmarks.replay.tables import Task, rows
from benchmarks.replay.trace import Terms, Trace

Action = Literal["go", "stop", "pause"]


@dataclass(frozen=True)
class Work:
    """What a free worker does next: a new trial, which has params, or one that goes on."""

    trial: str
    params: dict[str, Any] | None = None


class Peer(Protocol):
    """A method that is driven from outside."""

    def next(self) -> Work | None:
        """Find work for a free worker; None where there is none until something is reported."""
        ...

    def ran(self, trial: str, params: dict[str, Any]) -> None:
        """Hear which params stand for those that were suggested: those of the table's nearest config."""
        ...

    def report(self, trial: str, epoch: int, value: float, ended: bool) -> Action:
        """Hear of an epoch; `ended`: the trial diverged, and ends with this report whatever is answered."""
        ...


@dataclass
class _Trial:
    row: int
    epoch: int = 0


def play(peer: Peer, task: Task, terms: Terms) -> Trace:
    """Let a peer search until the budget is used up, or it has no more work."""
    return _Play(peer, task, terms).run()


class _Play:
    def __init__(self, peer: Peer, task: Task, terms: Terms) -> None:
        self.peer, self.task, self.terms = peer, task, terms
        self.trace, self.unused = Trace(task, terms), rows(task)
        self.trials: dict[str, _Trial] = {}
        self.due: list[tuple[float, int, str]] = []
        self._started = 0
        self._worst = task.guess

    def run(self) -> Trace:
        self._fill()
        while self.due and not self.trace.over:
            busy = len(self.due)
            moment, _, name = heapq.heappop(self.due)
            self.trace.passed(moment, busy)
            if self._report(name) == "go":
                self._train(name)
            self._fill()
        return self.trace

    def _fill(self) -> None:
        while len(self.due) < self.terms.workers and not self.trace.over:
            with self.trace.deciding():
                work = self.peer.next()
            if work is None or (work.params is not None and not self.unused.left):
                return
            self.trace.decisions += 1
            if work.params is not None:
                row = self.unused.meet(work.params)
                self.trace.began(self.unused.loss(row))
                self.trials[work.trial] = _Trial(row)
                with self.trace.deciding():
                    self.peer.ran(work.trial, self.unused.params(row))
            self._train(work.trial)

    def _train(self, name: str) -> None:
        trial = self.trials[name]
        self._started += 1
        moment = self.trace.clock + self.terms.cost(self.task, trial.row, trial.epoch + 1)
        heapq.heappush(self.due, (moment, self._started, name))

    def _report(self, name: str) -> Action:
        trial = self.trials[name]
        trial.epoch += 1
        value = self.unused.value(trial.row, trial.epoch)
        self.trace.saw(value)
        told = self._told(value)
        with self.trace.deciding():
            action = self.peer.report(name, trial.epoch, told, ended=math.isnan(value))
        return "stop" if math.isnan(value) or trial.epoch == self.task.epochs else action

    def _told(self, value: float) -> float:
        """Tell a peer of a NaN as the worst value so far, or an untrained model's: none of them bears a NaN."""
        if math.isnan(value):
            return self._worst if math.isfinite(self._worst) else 0.0
        worse = max if self.task.mode == "min" else min
        self._worst = worse(self._worst, value) if math.isfinite(self._worst) else value
        return value
