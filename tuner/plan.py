"""What a run is going to cost, as far as that can be known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core import chance
from tuner.core.events import Event
from tuner.core.records import Report
from tuner.core.rules import make_rule
from tuner.core.trial import TrialState
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Median, Pbt, Random

MOST_REPORTS = 20_000
MOST_TRIALS = 200
"""More are scaled up from as many."""
LONGEST, INTERVALS = 100, 20
"""As many epochs stand for more where any of them is judged, and as many intervals of a population for more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An estimate of a run, from its own scheduler on values that are mere chance."""

    epochs: int
    """Epochs of all trials together."""
    most: int | None
    """The most that they can be; None for a population, whose copies train again what their donor had ahead of them."""
    for_the_best: int
    """About so many more at most, for which the best trial alone goes on when the epochs of all are trained."""
    reach: dict[int, int]
    """Epoch of each rung, and the last → how many trials get there; empty for a population and for auto."""
    repeats: int
    """The most repeats on fresh seeds, each to the last epoch, that come after them."""


def plan(spec: Experiment, slots: int) -> Plan:
    """Play the run on curves that keep their order from the first epoch to the last."""
    last, most = spec.budget.epochs, spec.trials * spec.budget.epochs
    repeats = min(spec.confirm.top, spec.trials) * spec.confirm.seeds if spec.confirm else 0
    if (total := spec.total_epochs) is not None:
        return Plan(total, most, max(0, min(last, most - total)), {}, repeats)
    if spec.scheduler.kind == "none":
        return Plan(most, most, 0, {last: spec.trials}, repeats)
    tried = _tried(spec)
    played = _Played(tried, _curve(tried), slots, as_lines=False)
    reports = [record for record in played.run() if isinstance(record, Report)]
    scale = spec.trials / tried.trials
    epochs = round(played.trained * scale * last / tried.budget.epochs)
    if spec.scheduler.kind == "pbt":
        return Plan(epochs, None, 0, {}, repeats)
    reach = {
        epoch: len({report.trial for report in reports if report.epoch >= min(epoch, tried.budget.epochs)})
        for epoch in dict.fromkeys([*sorted(make_rule(spec).saved_epochs()), last])
    }
    return Plan(epochs, most, 0, {epoch: round(count * scale) for epoch, count in reach.items()}, repeats)


def _tried(spec: Experiment) -> Experiment:
    """Give the run that is played in its place: at random, and smaller where it is large."""
    scheduler, epochs = spec.scheduler, spec.budget.epochs
    if isinstance(scheduler, Median) and epochs > LONGEST:
        grace = max(1, scheduler.grace_epochs * LONGEST // epochs)
        scheduler, epochs = scheduler.model_copy(update={"grace_epochs": grace}), LONGEST
    elif isinstance(scheduler, Pbt):
        epochs = min(epochs, scheduler.interval_epochs * INTERVALS)
    judged = make_rule(spec).judged_epochs()
    reports = min(epochs, len(judged or range(epochs)))  # of one trial
    trials = min(spec.trials, MOST_TRIALS, max(10, MOST_REPORTS // reports))
    update: dict[str, Any] = {
        "budget": spec.budget.model_copy(update={"trials": trials, "epochs": epochs, "target": None, "hours": None}),
        "scheduler": scheduler,
        "search": Random(kind="random"),
        "start": type(spec.start)(),
        "confirm": None,
        "constraints": {},
    }
    return spec.model_copy(update=update)


def _curve(spec: Experiment) -> Any:
    def curve(params: Mapping[str, Any], epoch: int) -> dict[str, float]:
        key = repr(sorted(params.items()))
        others = {goal.metric: chance.uniform(0, "plan", key, goal.metric) for goal in spec.objectives[1:]}
        return {spec.objective.metric: chance.uniform(0, "plan", key), **others}

    return curve


class _Played(Simulation):
    """Reports nothing but what the rule judges: that decides as if it were told of every epoch.

    Which of two reports at one moment comes first may differ, and with it who clones whom.
    """

    trained = 0
    """Epochs of all trials."""

    def event(self, trial: TrialState) -> Event:
        self.trained += self.next_epoch(trial) - trial.epoch
        return super().event(trial)

    def next_epoch(self, trial: TrialState) -> int:
        judged, last = self.core.rule.judged_epochs(), self.spec.budget.epochs
        return trial.epoch + 1 if judged is None else min((e for e in judged if e > trial.epoch), default=last)

    def seconds(self, trial: TrialState, epoch: int) -> float:
        return epoch - trial.epoch
