"""Population based training (Jaderberg et al. 2017): the worst copy from the best, and change a little."""

from __future__ import annotations

import math

from tuner.core import chance
from tuner.core.records import GO, Clone, Decision, Mark
from tuner.core.rules import ranking
from tuner.core.rules.mutate import mutate
from tuner.core.standing import Metrics
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.spec import kinds
from tuner.spec.experiment import Experiment


class Pbt:
    """At each interval a member of the lowest quantile clones one of the highest."""

    version = 2

    def __init__(self, experiment: Experiment, scheduler: kinds.Pbt) -> None:
        self.spec, self.scheduler, self.objective = experiment, scheduler, experiment.objective

    def judge(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> Decision:
        """Compare a member with the others' latest values, once an interval."""
        reached = max(trial.mark.epoch if trial.mark else 0, trial.clone.epoch if trial.clone else 0)
        if epoch // self.scheduler.interval_epochs <= reached // self.scheduler.interval_epochs:
            return GO
        reports = {trial.id: metrics}
        for other in run.trials.values():
            if other.status != "ended" and other.marked is not None and other is not trial:
                reports[other.id] = other.marked.metrics
        keys = dict(zip(reports, ranking.keys(self.spec, list(reports.values())), strict=True))
        # As Ray does: the worst first, members that are as good in the order in which they were suggested.
        order = sorted(sorted(keys, key=lambda name: run.trials[name].number), key=keys.__getitem__, reverse=True)
        size = min(math.ceil(len(order) * self.scheduler.quantile), len(order) // 2)
        metric = self.objective.metric
        mark = Mark(
            bracket=0, epoch=epoch, value=metrics[metric], rank=len(order) - order.index(trial.id), of=len(order),
            cutoff=reports[order[size]][metric] if size and ranking.is_plain(self.spec) else None,
        )  # fmt: skip
        # How many have a place at once is not known beforehand where their shares of a GPU are measured.
        takes_turns = self.spec.trials > run.slots or any(one.gpus == "auto" for one in self.spec.resource_entries)
        if trial.id in order[:size] and (clone := self._clone(run, trial, order[len(order) - size :], epoch)):
            reason = f"number {mark.rank} of {mark.of}: goes on from {clone.donor} at epoch {clone.epoch}"
            return Decision(action="pause" if takes_turns else "clone", mark=mark, clone=clone, reason=reason)
        return Decision(action="pause" if takes_turns else "go", mark=mark)

    def next(self, run: RunState) -> str | None:
        """Name the paused member that is furthest behind, once the population is complete."""
        if len(run.trials) < self.spec.trials:
            return None
        paused = sorted(run.having("paused"), key=lambda trial: (trial.epoch, trial.number))
        return paused[0].id if paused else None

    def judged_epochs(self) -> frozenset[int]:
        """Every interval."""
        return self.saved_epochs()

    def saved_epochs(self) -> frozenset[int]:
        """Every interval."""
        interval = self.scheduler.interval_epochs
        return frozenset(range(interval, self.spec.budget.epochs + 1, interval))

    def _clone(self, run: RunState, trial: TrialState, best: list[str], epoch: int) -> Clone | None:
        key = (trial.id, trial.generation, epoch)
        donor = run.trials[best[chance.integer(self.spec.seed, "donor", *key, below=len(best))]]
        checkpoint, at = donor.checkpoint
        if checkpoint is None:
            return None
        params, choices = mutate(self.spec, donor, key)
        return Clone(donor=donor.id, epoch=at, checkpoint=checkpoint, params=params, choices=choices)
