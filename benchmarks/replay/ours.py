"""This service's own methods: the core exactly as a run uses it, under the simulator's virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.replay.tables import Axis, Task, rows
from benchmarks.replay.trace import Terms, Trace
from tuner.core.events import Event
from tuner.core.records import Record, Suggested
from tuner.core.search.asker import Asker
from tuner.core.search.thaw import FreezeThaw
from tuner.core.trial import TrialState
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment

METRIC = "value"


def run(task: Task, terms: Terms, parts: dict[str, Any], on_table: bool = False) -> Trace:
    """Let a kind of search and of scheduler search a table; `on_table` has it choose among the table's own configs."""
    spec = experiment(task, terms, parts)
    return play(Replay(spec, task, terms, asker(spec, task.candidates()) if on_table else None))


def play(replay: Replay) -> Trace:
    """Let the clock go on until the budget is used up."""
    replay.fill()
    while replay.busy and not replay.trace.over:
        replay.step()
    return replay.trace


def asker(spec: Experiment, candidates: Sequence[dict[str, Any]]) -> Asker:
    """Build an asker that suggests nothing but these candidates.

    Raises ValueError for a kind of search that draws its candidates itself and cannot be given any.
    """
    if spec.search.kind != "auto":
        raise ValueError(f"search.kind: must be one that takes candidates, but got {spec.search.kind}.")
    return FreezeThaw(spec, candidates)


def experiment(task: Task, terms: Terms, parts: dict[str, Any]) -> Experiment:
    """Write down a table's space and the method's parts; there are as many trials as configs."""
    if parts.get("search") == {"kind": "auto"}:  # its budget is of epochs
        parts = {**parts, "search": {"kind": "auto", "epochs": terms.epochs(task)}}
    return Experiment.model_validate(
        {
            "trainable": "table:train",
            "objective": {"metric": METRIC, "mode": task.mode},
            "budget": {"trials": task.configs, "epochs": task.epochs},
            "space": {axis.name: _dimension(axis) for axis in task.axes},
            "seed": terms.seed,
            **parts,
        }
    )


def _dimension(axis: Axis) -> dict[str, Any]:
    dist = "int" if axis.whole else "float"
    return {"dist": dist, "low": axis.value(axis.low), "high": axis.value(axis.high), "log": axis.log}


class Replay(Simulation):
    """A run whose trials are configs of a table.

    The params in the record are those of the table, so a trial *is* that config to the core and to what reads its
    records. Optuna's samplers alone keep what they asked for, as they would in any other program.
    """

    def __init__(self, spec: Experiment, task: Task, terms: Terms, asker: Asker | None = None) -> None:
        self.trace, self.rows = Trace(task, terms), dict[str, int]()
        self.unused = rows(task, on_table=asker is not None)
        super().__init__(spec, lambda params, epoch: 0.0, terms.workers, asker=asker, as_lines=False)

    def step(self) -> None:
        """Go on to the next report, and count who waited."""
        self.trace.passed(self.next_moment, self.busy)
        super().step()

    def commit(self, event: Event) -> Record | None:
        """Decide and apply, on the method's own CPU time; what it suggested meets the table in between."""
        with self.trace.deciding():
            record = self.core.decide(event)
        if isinstance(record, Suggested):
            self.rows[record.trial] = row = self.unused.meet(record.params)
            self.trace.began(self.unused.loss(row))
            if isinstance(self.core.asker, FreezeThaw):
                self.core.asker.pool.drop(record.params)  # it was tried, though under the table's params
            record = replace(record, params=self.unused.params(row))
        if record is not None:
            self.trace.decisions += record.kind in ("suggested", "promoted")
            with self.trace.deciding():
                self.take(record)
        return record

    def value(self, trial: TrialState, epoch: int) -> float:
        """Look up what a trial reports."""
        value = self.unused.value(self.rows[trial.id], epoch)
        self.trace.saw(value)
        return value

    def seconds(self, trial: TrialState, epoch: int) -> float:
        """Look up what an epoch takes."""
        return self.trace.terms.cost(self.trace.task, self.rows[trial.id], epoch)
