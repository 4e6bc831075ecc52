"""The state of a run: what its records add up to, and nothing else."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Literal

from tuner.core import confirm, standing
from tuner.core.gpus import Gpus
from tuner.core.records import (
    Asked,
    Disk,
    Ended,
    Given,
    Header,
    Lost,
    Machines,
    Outcome,
    Probed,
    Promoted,
    Record,
    Repeated,
    Report,
    Session,
    Suggested,
    Tick,
)
from tuner.core.streak import Streak
from tuner.core.trial import Best, TrialState
from tuner.errors import UserError
from tuner.spec.experiment import Experiment, kept

Entry = tuple[float, int, str]
"""A place on a rung: (minus the score, order of arrival, trial), so that sorting puts the best first."""


class RunState:
    """A run as its records tell it; `apply` is the only thing that changes it."""

    def __init__(self) -> None:
        self.spec: Experiment
        self.name = ""
        self.folder = ""
        self.versions: dict[str, str] = {}
        self.attempt, self.slots, self.records = 0, 1, 0
        self.trials: dict[str, TrialState] = {}
        """Those of the search."""
        self.repeats: dict[str, TrialState] = {}
        """Those that repeat some of them on fresh seeds; the search never hears of them."""
        self.rungs: dict[tuple[int, int], list[Entry]] = {}
        self.best: Best | None = None
        """The best report that keeps the constraints; with several objectives by the first."""
        self.best_saved: Best | None = None
        """The best of those that have a checkpoint."""
        self.front, self.front_saved = list[Best](), list[Best]()
        """With several objectives the reports that no other dominates; the same among those that have a checkpoint."""
        self.closed: Literal["", "target", "hours", "asked"] = ""
        self.reached = False
        """The target was reached, whatever has closed the run since: the search is over."""
        self.tops: dict[int, list[str]] = {}
        """Last epochs of smaller budgets, and the trials that were finished there when the budget grew."""
        self.slowest = 0.0
        """The most seconds that any epoch took."""
        self.changed = False
        """The user has given it a larger budget, or other settings."""
        self.streak = Streak()
        self.gpus = Gpus.of({})
        self.full = False
        """The run waits for room on the disk."""
        self.overshoot = 0
        """Epochs trained beyond those of all trials together, when the budget grew."""
        self.elapsed, self._session_began, self._elapsed_before = 0.0, 0.0, 0.0

    def apply(self, record: Record) -> None:
        """Take in one record."""
        if isinstance(record, Header):
            self.spec, self.name = kept(record.spec, record.name), record.name
            self.folder, self.gpus = record.folder, Gpus.of(self.spec.space)
        elif isinstance(record, Session):
            self._session(record)
        elif isinstance(record, Machines):
            self.slots, self.gpus.card = record.slots, record.card
        elif isinstance(record, Suggested):
            self._suggested(record)
        elif isinstance(record, Repeated):
            self._repeated(record)
        elif isinstance(record, Report):
            self._report(record)
        elif isinstance(record, Given):
            self.find(record.trial).given = replace(record, time=0.0)
        elif isinstance(record, Probed):
            self.gpus.probed(self.find(record.trial), record)
        elif isinstance(record, Promoted):
            self.find(record.trial).open("running")
        elif isinstance(record, Lost):
            self._lost(self.find(record.trial), record)
        elif isinstance(record, Ended):
            self._ended(self.find(record.trial), record)
        elif isinstance(record, Asked):
            self._asked(record)
        elif isinstance(record, Tick):
            self._close("hours", "stopped", "budget.hours is reached")
        elif isinstance(record, Disk):
            self.full = record.full
        self.records += 1
        if self.attempt and not isinstance(record, Asked | Disk):  # which may be written between two sessions
            self.elapsed = self._elapsed_before + max(0.0, record.time - self._session_began)

    def objective(self, report: Report) -> float:
        """Read the objective's value from a report."""
        return report.metrics[self.spec.objective.metric]

    def score(self, report: Report) -> float:
        """Read the objective's score from a report: higher is better."""
        return self.spec.objective.score(self.objective(report))

    def standing(self, report: Report) -> standing.Standing:
        """Find what a report is ranked by: minus the violation of the constraints, then the score of each objective."""
        return standing.standing(self.spec, report.metrics)

    def having(self, status: Literal["running", "paused", "ended"]) -> Iterator[TrialState]:
        """Walk over the trials of one status, in the order in which they were suggested, then over the repeats."""
        return (trial for trial in self.everyone() if trial.status == status)

    def everyone(self) -> Iterator[TrialState]:
        """Walk over the trials of the search, then over the repeats."""
        return chain(self.trials.values(), self.repeats.values())

    def find(self, name: str) -> TrialState:
        """Find a trial of the search, or a repeat; raises KeyError where there is none."""
        return self.repeats[name] if name in self.repeats else self.trials[name]

    def knows(self, name: str) -> bool:
        """Tell whether there is such a trial, or repeat."""
        return name in self.trials or name in self.repeats

    def is_sized(self, trial: TrialState) -> bool:
        """Tell whether a trial's share of a GPU is measured."""
        return self.spec.resources_of(trial.params).gpus == "auto"

    @property
    def horizon(self) -> int:
        """The last epoch of the first budget: schedules end there, also when the budget grows."""
        return min(self.tops, default=self.spec.budget.epochs)

    @property
    def chosen(self) -> Best | None:
        """The report whose params and model are the run's result: a confirmed winner's, else the best that is saved."""
        return confirm.chosen(self)

    def is_spent_by(self, more: int) -> bool:
        """Tell whether the epochs that all trials may train for together are trained, with so many more."""
        total = self.spec.total_epochs
        return total is not None and more + sum(trial.epoch for trial in self.trials.values()) >= total + self.overshoot

    @property
    def wants_trials(self) -> bool:
        """Tell whether new trials may begin."""
        return not self.closed and len(self.trials) < self.spec.trials and not self.is_spent_by(0)

    @property
    def is_searching(self) -> bool:
        """Tell whether a trial of the search goes on, or is still to come."""
        return self.wants_trials or any(trial.status != "ended" for trial in self.trials.values())

    @property
    def is_closed(self) -> bool:
        """Tell whether it was ended before its budget was used up, and nothing is confirmed any more either."""
        return bool(self.closed) and self.finished()

    def finished(self) -> bool:
        """Tell whether nothing is left to do."""
        if self.is_searching or any(repeat.status != "ended" for repeat in self.repeats.values()):
            return False
        return confirm.next_record(self) is None

    def _session(self, record: Session) -> None:
        self.attempt, self.slots, self.versions = record.attempt, record.slots, record.versions
        self.gpus.card = record.card
        self._elapsed_before, self._session_began = self.elapsed, record.time
        self.streak.clear()

    def _suggested(self, record: Suggested) -> None:
        self.trials[record.trial] = TrialState(
            id=record.trial, number=len(self.trials), params=record.params, choices=record.choices,
            since=self.attempt,
        )  # fmt: skip

    def _repeated(self, record: Repeated) -> None:
        of = self.trials[record.of]
        self.repeats[record.trial] = TrialState(
            id=record.trial, number=of.number, params=record.params, choices=record.choices, of=of.id,
            seed=record.seed, since=self.attempt, parts=of.parts, least_gpus=of.least_gpus, probed=of.probed,
        )  # fmt: skip

    def _report(self, record: Report) -> None:
        trial = self.find(record.trial)
        if not trial.reports:
            self.streak.clear()
        trial.reports.append(record)
        trial.epoch = record.epoch
        trial.slowest = max(trial.slowest, record.seconds)
        trial.in_a_row.clear()
        self.slowest = max(self.slowest, record.seconds)
        standing.keep_best(self, trial, record)
        if self.is_sized(trial):
            self.gpus.reported(trial, record)
        decision = record.decision
        if decision.mark is not None:
            trial.mark, trial.marked = decision.mark, record
            rung = self.rungs.setdefault((decision.mark.bracket, decision.mark.epoch), [])
            insort(rung, (-self.spec.objective.score(decision.mark.value), len(rung), trial.id))
        if decision.clone is not None:
            trial.clone, trial.epoch = decision.clone, decision.clone.epoch
            trial.earlier.append(trial.params)
            trial.params, trial.choices = decision.clone.params, decision.clone.choices
            trial.generation, trial.since = trial.generation + 1, self.attempt
            trial.probed = 0
        if decision.action == "pause":
            trial.status = "paused"
        elif decision.action == "end":
            assert decision.outcome is not None
            trial.end(decision.outcome, decision.reason, by_report=True)
            trial.before = "running" if trial.of and decision.outcome == "stopped" else ""
        if decision.target:
            self.reached = True
            self._close("target", "stopped", "budget.target is reached")
            trial.before = "running" if record.epoch < self.spec.budget.epochs else ""

    def _lost(self, trial: TrialState, record: Lost) -> None:
        trial.losses += 1
        trial.in_a_row[record.cause] += 1
        self.gpus.lost(trial, record)
        trial.parts, trial.least_gpus = record.parts or trial.parts, record.least_gpus or trial.least_gpus

    def _ended(self, trial: TrialState, record: Ended) -> None:
        if not trial.of:
            self.streak.add(record, bool(trial.reports))
        self.gpus.ran_out(trial, record.ran_out)
        trial.end(record.outcome, record.reason, record.error)

    def _asked(self, record: Asked) -> None:
        if record.changes:
            self._change(record.changes)
        elif record.trial is None:
            self._close("asked", "killed", "the user stopped the run")
        elif (trial := self.find(record.trial)).status != "ended":
            trial.end("killed", "the user stopped the trial")

    def _change(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Take on other settings, or a larger budget: what the old one ended waits to go on."""
        last, self.changed = self.spec.budget.epochs, True
        if (total := self.spec.total_epochs) is not None:
            self.overshoot = max(self.overshoot, sum(trial.epoch for trial in self.trials.values()) - total)
        self.spec = self.spec.with_parts(changes)
        if "budget" in changes:
            self._grow(last, more=not changes["budget"].keys() <= {"hours"})

    def _grow(self, last: int, more: bool) -> None:
        """Go on with a larger budget; a search that has reached its target only where there is `more` than hours."""
        if self.spec.budget.epochs > last:
            self.tops[last] = [t.id for t in self.trials.values() if t.outcome == "finished" and t.epoch >= last]
            for name in self.tops[last]:
                self.trials[name].open("paused")
        if self.reached and not more:
            self.closed = "target"
        elif self.closed:
            self.closed, self.reached = "", False
            for trial in self.trials.values():
                if trial.before:
                    trial.open(trial.before)

    def _close(self, why: Literal["target", "hours", "asked"], outcome: Outcome, reason: str) -> None:
        self.closed = why
        for trial in self.everyone():
            if trial.status != "ended":
                trial.before = trial.status
                trial.end(outcome, reason)


def replay(records: Sequence[Record]) -> RunState:
    """Build the state that records add up to; raises UserError where they do not begin with a header."""
    if not records or not isinstance(records[0], Header):
        raise UserError("the ledger must begin with a header, but holds none: the run was never made. Start it anew.")
    run = RunState()
    for record in records:
        run.apply(record)
    return run
