"""The median stopping rule (Golovin et al. 2017, Google Vizier)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from tuner.core.records import GO, Decision, Mark
from tuner.core.rules.rule import first_paused
from tuner.core.standing import Metrics, broken, violation
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.spec import kinds
from tuner.spec.experiment import Experiment


class Median:
    """Stop a trial whose best value is worse than the median of the others' running means."""

    version = 2

    def __init__(self, experiment: Experiment, scheduler: kinds.Median) -> None:
        self.spec, self.objective = experiment, experiment.objective
        self.grace, self.min_trials = scheduler.grace_epochs, scheduler.min_trials
        self._means: dict[tuple[str, int], float | None] = {}
        """(trial, epoch) → the running mean there, of a trial that has come so far: no later report changes it."""

    def judge(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> Decision:
        """Hold the trial's best value against the median at this epoch."""
        if epoch < self.grace:
            return GO
        means = [
            mean
            for other in run.trials.values()
            if other is not trial and other.epoch >= epoch and (mean := self._mean(run, other, epoch)) is not None
        ]
        if len(means) < self.min_trials:
            return GO
        median, value = _middle(means), metrics[self.objective.metric]
        own = [self.objective.score(value)] if not violation(self.spec, metrics) else []
        best = max([*self._scores(run, trial, epoch), *own], default=-math.inf)
        mark = Mark(
            bracket=0, epoch=epoch, value=value, cutoff=self.objective.score(median),
            rank=1 + sum(mean > best for mean in means), of=len(means) + 1,
        )  # fmt: skip
        if best >= median:
            return Decision(action="go", mark=mark)
        if best == -math.inf:
            reason = f"{broken(self.spec, metrics)} up to epoch {epoch}, where {len(means)} other trials break none"
            return Decision(action="end", outcome="stopped", mark=mark, reason=reason)
        reason = (
            f"best {self.objective.metric} {self.objective.score(best):.6g} up to epoch {epoch} is worse than the "
            f"median {self.objective.score(median):.6g} of {len(means)} other trials"
        )
        return Decision(action="end", outcome="stopped", mark=mark, reason=reason)

    def next(self, run: RunState) -> str | None:
        """Name what was finished when the budget grew; nothing else is ever paused."""
        return first_paused(run)

    def judged_epochs(self) -> None:
        """Any: there is no set of them."""

    def saved_epochs(self) -> frozenset[int]:
        """None beside those of the spec."""
        return frozenset()

    def _mean(self, run: RunState, trial: TrialState, epoch: int) -> float | None:
        if (trial.id, epoch) not in self._means:
            scores = self._scores(run, trial, epoch, since=self.grace)
            self._means[trial.id, epoch] = _mean_of(scores) if scores else None
        return self._means[trial.id, epoch]

    def _scores(self, run: RunState, trial: TrialState, epoch: int, since: int = 0) -> list[float]:
        """List the finite scores of the reports that break no constraint."""
        reports = [report for report in trial.reports if since <= report.epoch <= epoch]
        if self.spec.constraints:
            reports = [report for report in reports if not violation(self.spec, report.metrics)]
        return [score for report in reports if math.isfinite(score := run.score(report))]


def _mean_of(values: Sequence[float]) -> float:
    """Take the mean, which is never rounded to outside of its values, and which large values do not overflow."""
    try:
        mean = statistics.fmean(values)
    except OverflowError:
        mean = math.fsum(value / len(values) for value in values)
    return min(max(mean, min(values)), max(values))


def _middle(values: Sequence[float]) -> float:
    """Take the median; of two in the middle their mean."""
    order, half = sorted(values), len(values) // 2
    return order[half] if len(order) % 2 else _mean_of(order[half - 1 : half + 1])
