"""What if: the recorded curves of a run again, under another scheduler, by the core and its virtual clock.

Nothing is trained. A trial that was stopped at epoch 3 has no epoch 9: where the other scheduler lets it go on, its
value there is not known. It is taken to stay what it was last, and never counted as found; what hangs on such values is
counted, and the replay is made twice more, with values in their place that are worse, and better, than all others.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.core.course import Course, course
from tuner.core.events import Elapsed, Event, Failed, Reported, Returned
from tuner.core.records import Ended, Machines, Outcome, Promoted, Record, Report, Session
from tuner.core.run import RETURNED
from tuner.core.search.asker import Suggestion
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.errors import Problem, UserError
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment, Resources, Start, Tpe

OWN_ENDS: tuple[Outcome, ...] = ("failed", "infeasible", "lost", "stalled")
"""Ends that come from the trial itself: it meets them under any scheduler."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A run beside what it would have been."""

    was: Course
    """As it ran."""
    same: Course | None
    """Its own settings, replayed: how far the virtual clock is from the real one. None where they are `auto`."""
    other: Course
    """The other settings, replayed."""
    worst: Course
    """The same where all that is not recorded is worse than all that is."""
    best: Course
    """The same where it is better."""
    workers: int
    """How many trials ran at once while most of the epochs were reported; so many do in the replays."""
    trials: int
    """How many trials are recorded."""


class Curves:
    """What the records of a run tell of its search."""

    def __init__(self, records: Sequence[Record]) -> None:
        """Read the records; raises UserError where no trial of the search has reported."""
        self.run, self.records, self.seconds = RunState(), records, 0.0
        slots, used = 1, Counter[int]()
        for record in records:
            self.run.apply(record)
            if isinstance(record, Session | Machines):
                slots = record.slots
            elif isinstance(record, Report | Ended | Promoted) and record.trial in self.run.trials:
                self.seconds = self.run.elapsed
                used[slots] += isinstance(record, Report)
        if not used.total():
            what = "must be a run that has reported, but there is no report yet"
            raise UserError(Problem(self.run.name, "", what, "Wait for its first epochs."))
        self.workers = used.most_common(1)[0][0]
        self.trials = [trial for trial in self.run.trials.values() if trial.reports or own_end(trial) is not None]
        """Those that reported, or ended by themselves, in the order in which they were suggested."""

    def rank(self, trial: TrialState) -> int:
        """Tell a trial's place by its best value."""
        return 1 + sum(other.standing > trial.standing for other in self.trials)

    def ends(self) -> tuple[dict[str, float], dict[str, float]]:
        """Find values of all objectives that are just worse, and just better, than all that are recorded."""
        worst, best = dict[str, float](), dict[str, float]()
        for objective in self.run.spec.objectives:
            name, score = objective.metric, objective.score
            scores = [score(report.metrics[name]) for trial in self.trials for report in trial.reports]
            finite = [one for one in scores if math.isfinite(one)] or [0.0]
            worst[name] = score(math.nextafter(min(finite), -math.inf))
            best[name] = score(math.nextafter(max(finite), math.inf))
        return worst, best


def own_end(trial: TrialState, name: str = "") -> Event | None:
    """Make the event by which a trial ended of itself, or by hand; None where it might have gone on."""
    if trial.by_report:
        return None  # an epoch that the other scheduler may not come to, or the last
    if trial.reason.startswith(RETURNED):
        return Returned(trial=name)
    if trial.outcome in OWN_ENDS or (trial.outcome == "killed" and not trial.before):
        assert trial.outcome is not None
        return Failed(trial=name, outcome=trial.outcome, reason=trial.reason)
    return None


class Replay(Simulation):
    """Workers that report what trials of a run reported."""

    def __init__(self, spec: Experiment, curves: Curves, beyond: Mapping[str, float] | None = None) -> None:
        """Begin; `beyond` are the values that are taken where none are recorded, the trial's last ones by default."""
        self.curves, self.beyond = curves, beyond
        self.carried = set[tuple[str, int]]()
        """Trials and epochs that are not recorded."""
        budget = spec.budget.model_copy(update={"trials": min(spec.budget.trials, len(curves.trials))})
        search = Tpe() if spec.search.kind == "auto" else spec.search
        plain = {"search": search, "start": Start(), "confirm": None, "resources": Resources()}
        spec = spec.model_copy(update={"budget": budget, **plain})
        self.limit = math.inf if budget.hours is None else budget.hours * 3600
        super().__init__(spec, lambda params, epoch: math.nan, curves.workers, asker=self, as_lines=False)

    def ask(self, number: int) -> Suggestion:
        """Suggest the next trial of the run."""
        trial = self.curves.trials[number]
        return Suggestion(trial.params, trial.choices, seen=0)

    def observe(self, record: Record) -> None:
        """Learn nothing: what comes next is recorded."""

    def recorded(self, trial: TrialState) -> TrialState:
        """Find the trial of the run."""
        return self.curves.trials[trial.number]

    def seconds(self, trial: TrialState, epoch: int) -> float:
        """Find how long the report of an epoch, or the next one, took; by the mean of the others if there is none."""
        known = self.recorded(trial)
        if (report := _after(known, epoch - 1)) is not None:
            return report.seconds
        if own_end(known) is not None:
            return 0.0
        return math.fsum(report.seconds for report in known.reports) / len(known.reports)

    def event(self, trial: TrialState) -> Event:
        """Make what the trial did next in the run, or a report that is not recorded."""
        if self.clock >= self.limit:
            return Elapsed(seconds=self.clock)
        known = self.recorded(trial)
        report = _after(known, trial.epoch)
        if report is None and (end := own_end(known, trial.id)) is not None:
            return end
        if report is not None:
            epoch, metrics = report.epoch, report.metrics
        else:
            epoch = min(trial.epoch + _step(known), self.spec.budget.epochs)
            metrics = self._below_target({**known.reports[-1].metrics, **(self.beyond or {})})
            self.carried.add((trial.id, epoch))
        return Reported(
            trial=trial.id,
            generation=0,
            epoch=epoch,
            metrics=metrics,
            seconds=self.seconds(trial, epoch),
            checkpoint=None,
        )

    def _below_target(self, metrics: dict[str, float]) -> dict[str, float]:
        """Let no value that is not recorded end the run."""
        objective, target = self.spec.objective, self.spec.budget.target
        score, name = objective.score, objective.metric
        if target is not None and score(metrics[name]) >= score(target):
            metrics[name] = score(math.nextafter(score(target), -math.inf))
        return metrics

    def course(self) -> Course:
        """Tell how it went."""
        seconds = min(self.clock, self.limit)
        return course(self.core.run, self.records, seconds, self.curves.rank, self.recorded, self.carried)


def _after(trial: TrialState, epoch: int) -> Report | None:
    """Find the first report after an epoch."""
    at = bisect_right(trial.reports, epoch, key=lambda report: report.epoch)
    return trial.reports[at] if at < len(trial.reports) else None


def _step(trial: TrialState) -> int:
    """Tell how many epochs lie between two reports of a trial."""
    before = trial.reports[-2].epoch if len(trial.reports) > 1 else 0
    return trial.reports[-1].epoch - before


def what_if(curves: Curves, other: Experiment) -> WhatIf:
    """Replay a run by its own settings and by others, which may differ in `scheduler` and `budget`."""
    same = None if curves.run.spec.scheduler.kind == "auto" else replay(curves.run.spec, curves)
    middle, worst, best = (replay(other, curves, beyond) for beyond in (None, *curves.ends()))
    was = course(curves.run, curves.records, curves.seconds, curves.rank)
    return WhatIf(was, same, middle, worst, best, curves.workers, len(curves.trials))


def replay(spec: Experiment, curves: Curves, beyond: Mapping[str, float] | None = None) -> Course:
    """Play a run again under a spec."""
    played = Replay(spec, curves, beyond)
    played.run()
    return played.course()
