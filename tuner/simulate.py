"""The core, exactly as a run uses it, under a virtual clock: no Ray, no files, no waiting."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from tuner.core.events import Event, Free, Reported
from tuner.core.lines import from_json, to_json
from tuner.core.records import SCHEMA, Header, Promoted, Record, Repeated, Report, Session, Suggested
from tuner.core.run import Core
from tuner.core.search.asker import Asker
from tuner.core.search.kinds import make_asker
from tuner.core.trial import TrialState
from tuner.spec.experiment import Experiment

Curve = Callable[[Mapping[str, Any], int], float | Mapping[str, float]]
"""(params, epoch) → the objective's value; or all metrics, where there are several objectives or constraints."""
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
        as_lines: bool = True,
    ) -> None:
        """Begin a run; without `as_lines` the records are not written as JSON and read again, which is half the time.

        An `asker` takes the place of the one that the spec's search has.
        """
        self.spec, self.curve, self.cost, self.as_lines = spec, curve, cost, as_lines
        self.core = Core(spec, asker or make_asker(spec))
        self.records: list[Record] = []
        self.clock = 0.0
        self._due: list[tuple[float, int, str]] = []
        """Reports to come: (moment, order of their start, trial)."""
        self._started = 0
        self._some_wait = True
        """Some running trial may have no worker: the run was begun by another, or a trial is a clone now."""
        self.take(Header(schema=SCHEMA, name="simulation", spec=spec.model_dump(), folder="."))
        self.take(Session(attempt=1, host="simulation", pid=0, slots=slots, versions={}))

    def run(self, count: int | None = None) -> list[Record]:
        """Simulate to the end, or until there are so many records; returns the records."""
        self.fill()
        while self._due and (count is None or len(self.records) < count):
            self.step()
        return self.records[:count]

    @property
    def busy(self) -> int:
        """How many workers train."""
        return len(self._due)

    @property
    def next_moment(self) -> float:
        """When the next report comes; the benchmarks count by it who waited."""
        return self._due[0][0]

    def step(self) -> None:
        """Let the clock go on to the next report, decide on it, and give each free worker what there is."""
        self.clock, _, name = heapq.heappop(self._due)
        record = self.commit(self.event(self.core.run.find(name)))
        if isinstance(record, Report) and record.decision.action == "go":
            self._train(self.core.run.find(name))
        self._some_wait |= isinstance(record, Report) and record.decision.clone is not None
        if self.core.run.closed:
            self._due = [due for due in self._due if self.core.run.find(due[2]).status == "running"]
            heapq.heapify(self._due)
        self.fill()

    def next_epoch(self, trial: TrialState) -> int:
        """Find the epoch at which a trial reports next."""
        return trial.epoch + 1

    def value(self, trial: TrialState, epoch: int) -> float | Mapping[str, float]:
        """Find what a trial reports at an epoch."""
        return self.curve(trial.params, epoch)

    def seconds(self, trial: TrialState, epoch: int) -> float:
        """Find what a trial takes, on the virtual clock, from its last report to an epoch."""
        return self.cost(trial.params, epoch)

    def event(self, trial: TrialState) -> Event:
        """Make what happens to a trial next: its next report."""
        epoch = self.next_epoch(trial)
        return Reported(
            trial=trial.id,
            generation=trial.generation,
            epoch=epoch,
            metrics=self._metrics(trial, epoch),
            checkpoint=f"trials/{trial.id}/checkpoints/g{trial.generation}_e{epoch:04d}_a1.0",
            seconds=self.seconds(trial, epoch),
        )

    def _metrics(self, trial: TrialState, epoch: int) -> dict[str, float]:
        value = self.value(trial, epoch)
        return dict(value) if isinstance(value, Mapping) else {self.spec.objective.metric: value}

    def take(self, record: Record) -> None:
        """Apply a record as a ledger would give it back."""
        if self.as_lines:
            record = from_json(to_json(record))
        self.records.append(record)
        self.core.apply(record)

    def commit(self, event: Event) -> Record | None:
        """Decide on an event and take in the record; None where it changes nothing."""
        record = self.core.decide(event)
        if record is not None:
            self.take(record)
        return record

    def fill(self) -> None:
        """Give each free worker what there is."""
        run = self.core.run
        while len(self._due) < run.slots:
            if self._some_wait:
                busy = {name for _, _, name in self._due}
                waiting = next((trial for trial in run.having("running") if trial.id not in busy), None)
                if waiting is not None:
                    self._train(waiting)
                    continue
                self._some_wait = False
            if (record := self.commit(Free())) is None:
                return
            if isinstance(record, Suggested | Promoted | Repeated):
                self._train(run.find(record.trial))

    def _train(self, trial: TrialState) -> None:
        self._started += 1
        moment = self.clock + self.seconds(trial, self.next_epoch(trial))
        heapq.heappush(self._due, (moment, self._started, trial.id))
