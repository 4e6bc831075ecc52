"""The core, exactly as a run uses it, under a virtual clock: no Ray, no files, no waiting."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from tuner.core.events import Event, Free, Reported
from tuner.core.lines import from_json, to_json
from tuner.core.records import SCHEMA, Header, Record, Report, Session
from tuner.core.run import Core
from tuner.core.search.asker import Asker
from tuner.core.search.kinds import make_asker
from tuner.core.trial import TrialState
from tuner.spec.experiment import Experiment

Curve = Callable[[Mapping[str, Any], int], float]
"""(params, epoch) → the objective's value."""
Cost = Callable[[Mapping[str, Any], int], float]
"""(params, epoch) → virtual seconds of that epoch."""


class Simulation:
    """Workers that train curves instead of models."""

    def __init__(
        self,
        spec: Experiment,
        curve: Curve,
        slots: int = 1,
        cost: Cost = lambda params, epoch: 1.0,
        asker: Asker | None = None,
    ) -> None:
        """Begin a run with so many slots; `asker` gives the params, by default the search that the spec names."""
        self.spec, self.curve, self.cost = spec, curve, cost
        self.core = Core(spec, asker or make_asker(spec))
        self.records: list[Record] = []
        self.clock = 0.0
        self._due: list[tuple[float, int, str]] = []
        """Reports to come: (moment, order of their start, trial)."""
        self._started = 0
        self.take(Header(schema=SCHEMA, name="simulation", spec=spec.model_dump(mode="json"), folder="."))
        self.take(Session(attempt=1, host="simulation", pid=0, slots=slots, versions={}))

    def run(self, count: int | None = None) -> list[Record]:
        """Simulate to the end, or until there are so many records; returns the records."""
        self._fill()
        while self._due and (count is None or len(self.records) < count):
            self.clock, _, name = heapq.heappop(self._due)
            record = self._commit(self.event(self.core.run.find(name)))
            if isinstance(record, Report) and record.decision.action == "go":
                self._train(self.core.run.find(name))
            if self.core.run.closed:
                self._due = [due for due in self._due if self.core.run.find(due[2]).status == "running"]
                heapq.heapify(self._due)
            self._fill()
        return self.records[:count]

    def value(self, trial: TrialState, epoch: int) -> float:
        """Find what a trial reports at an epoch."""
        return self.curve(trial.params, epoch)

    def seconds(self, trial: TrialState) -> float:
        """Find how long a trial takes to what happens to it next: virtual seconds."""
        return self.cost(trial.params, trial.epoch + 1)

    def event(self, trial: TrialState) -> Event:
        """Make what happens to a trial next: the report of its next epoch."""
        epoch = trial.epoch + 1
        return Reported(
            trial=trial.id,
            generation=trial.generation,
            epoch=epoch,
            metrics={self.spec.objective.metric: self.value(trial, epoch)},
            checkpoint=f"trials/{trial.id}/checkpoints/g{trial.generation}_e{epoch:04d}_a1.0",
            seconds=self.seconds(trial),
        )

    def take(self, record: Record) -> None:
        """Apply a record as a ledger would give it back."""
        record = from_json(to_json(record))
        self.records.append(record)
        self.core.apply(record)

    def _commit(self, event: Event) -> Record | None:
        record = self.core.decide(event)
        if record is not None:
            self.take(record)
        return record

    def _fill(self) -> None:
        run = self.core.run
        while len(self._due) < run.slots:
            busy = {name for _, _, name in self._due}
            waiting = next((trial for trial in run.having("running") if trial.id not in busy), None)
            if waiting is not None:
                self._train(waiting)
            elif self._commit(Free()) is None:
                return

    def _train(self, trial: TrialState) -> None:
        self._started += 1
        moment = self.clock + self.seconds(trial)
        heapq.heappush(self._due, (moment, self._started, trial.id))
