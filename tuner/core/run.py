"""The heart: `decide` turns an event into a record and changes nothing; `apply` is the only change."""

from __future__ import annotations

import math

from tuner.core import confirm, standing
from tuner.core.events import Due, Elapsed, Event, Failed, Free, Gone, Measured, Reported, Returned, Silent, StopAsked
from tuner.core.records import (
    Asked,
    Cause,
    Decision,
    Ended,
    Lost,
    Probed,
    Promoted,
    Record,
    Report,
    Suggested,
    Tick,
    trial_id,
)
from tuner.core.rules import make_rule
from tuner.core.search.asker import Asker
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.spec.experiment import Experiment
from tuner.spec.resources import floor_share

RETURNED = "the function returned"
FORESEEN = "would need"
"""What is said of a trial that never began, since no GPU can hold it."""
MAX_LOSSES: dict[Cause, int] = {"worker": 5, "stalled": 2, "disk": 20, "memory": 8}
"""A trial that is lost more often than this for one cause, without a new report in between, is given up.

A machine that is gone is no fault of the trial's. Nor is a full disk; but one that is full again so often is not the
run's own, which is the only one that can be waited for.
"""
GIVEN_UP: dict[Cause, str] = {"worker": "lost its worker", "stalled": "hung", "disk": "found no room"}
"""What is said of a trial that is given up, by what it was lost for."""


class Core:
    """One run's rule, search and state."""

    def __init__(self, spec: Experiment, asker: Asker) -> None:
        self.spec, self.asker = spec, asker
        self.rule = make_rule(spec, asker=asker)
        self.run = RunState()

    def apply(self, record: Record) -> None:
        """Take in one record."""
        self.run.apply(record)
        if isinstance(record, Asked) and record.changes:
            self.spec, self.rule = self.run.spec, make_rule(self.run.spec, self.run.tops, self.asker)
        self.asker.observe(record)

    def decide(self, event: Event) -> Record | None:
        """Answer an event; None where it changes nothing."""
        if isinstance(event, Free):
            return self._free()
        if isinstance(event, Elapsed):
            return self._elapsed(event)
        if isinstance(event, StopAsked):
            return self._stop(event)
        trial = self.run.find(event.trial)
        if trial.status == "ended":
            return None
        if isinstance(event, Due):
            return self._due(trial)
        if isinstance(event, Reported):
            return self._report(trial, event)
        if isinstance(event, Measured):
            return Probed(trial=trial.id, gpu_memory=event.gpu_memory, context=event.context, step=event.step)
        if isinstance(event, Returned):
            return self._returned(trial)
        if isinstance(event, Failed):
            return self._failed(trial, event)
        if isinstance(event, Silent):
            return self._silent(trial, event.seconds)
        return self._gone(trial, event)

    def _free(self) -> Record | None:
        run = self.run
        if not run.closed:
            if name := self.rule.next(run):
                return Promoted(trial=name, reason=f"goes on after epoch {run.trials[name].epoch}")
            if run.wants_trials:
                return self._suggest(len(run.trials))
            if not any(trial.status == "running" for trial in run.trials.values()):
                for trial in run.having("paused"):
                    return self._left_behind(trial)
        return None if run.is_searching else confirm.next_record(run)

    def _left_behind(self, trial: TrialState) -> Ended:
        if any(trial.id in names and trial.epoch <= top for top, names in self.run.tops.items()):
            reason = f"epoch {trial.epoch} was the last; not among the best when the budget grew"
            return Ended(trial=trial.id, outcome="finished", reason=reason)
        if self.run.is_spent_by(0):
            reason = f"paused at epoch {trial.epoch} when the run had trained its {self.spec.total_epochs} epochs"
        else:
            reason = f"was never among the best at epoch {trial.epoch}"
        return Ended(trial=trial.id, outcome="stopped", reason=reason)

    def _suggest(self, number: int) -> Suggested:
        found = self.asker.ask(number)
        return Suggested(
            trial=trial_id(number),
            params=found.params,
            choices=found.choices,
            seen=found.seen,
            attributes=found.attributes,
        )

    def _report(self, trial: TrialState, event: Reported) -> Report | None:
        if event.generation != trial.generation or event.epoch <= trial.epoch or trial.status != "running":
            return None
        return Report(
            trial=trial.id,
            generation=event.generation,
            epoch=event.epoch,
            metrics=event.metrics,
            checkpoint=event.checkpoint,
            decision=self._judge(trial, event),
            seconds=event.seconds,
            memory=event.memory,
            gpu_memory=event.gpu_memory,
            step=event.step,
            context=event.context,
            together=event.together,
            node=event.node,
            worker=event.worker,
        )

    def _judge(self, trial: TrialState, event: Reported) -> Decision:
        objective, budget, metrics = self.spec.objective, self.spec.budget, event.metrics
        if what := standing.not_finite(self.spec, metrics):
            return Decision(action="end", outcome="diverged", reason=what)
        value, counts = metrics[objective.metric], not trial.of and not standing.violation(self.spec, metrics)
        if budget.target is not None and counts and objective.score(value) >= objective.score(budget.target):
            reason = f"{objective.metric} {value:.6g} reaches the target {budget.target:.6g}"
            return Decision(action="end", outcome="finished", reason=reason, target=True)
        if event.epoch >= budget.epochs:
            outcome, more = standing.ending(self.spec, trial, metrics)
            return Decision(action="end", outcome=outcome, reason=f"epoch {event.epoch} is the last{more}")
        if trial.of:
            return confirm.judge(self.run, trial)
        return self.rule.judge(self.run, trial, event.epoch, metrics)

    def _returned(self, trial: TrialState) -> Ended:
        if not trial.reports:
            reason = f"{RETURNED} without a report of {self.spec.objective.metric}"
            return Ended(trial=trial.id, outcome="failed", reason=reason)
        outcome, more = standing.ending(self.spec, trial, trial.reports[-1].metrics)
        return Ended(trial=trial.id, outcome=outcome, reason=f"{RETURNED} after epoch {trial.epoch}{more}")

    def _gone(self, trial: TrialState, event: Gone) -> Record:
        times = trial.in_a_row[event.cause] + 1
        if times > MAX_LOSSES.get(event.cause, math.inf):
            reason = f"{GIVEN_UP[event.cause]} {times} times without a new report: {event.reason}"
            return Ended(trial=trial.id, outcome="stalled" if event.cause == "stalled" else "lost", reason=reason)
        return Lost(trial=trial.id, reason=event.reason, cause=event.cause, silent=event.silent)

    def _silent(self, trial: TrialState, seconds: float) -> Record | None:
        """Take a trial for hung that is silent for far longer than its own epochs took, or at first any trial's.

        Each time that it is taken for hung it gets twice as long: a large model's first epoch may be a slow one.
        """
        slowest = trial.slowest if trial.reports else self.run.slowest
        if trial.status != "running" or slowest == 0:
            return None
        if seconds <= self.spec.watchdog.patience(slowest) * 2 ** trial.in_a_row["stalled"]:
            return None
        reason = f"silent for {seconds:.3g} s, where no epoch took more than {slowest:.3g} s; log.txt has the stacks"
        return self._gone(trial, Gone(trial=trial.id, reason=reason, cause="stalled", silent=seconds))

    def _stop(self, event: StopAsked) -> Record | None:
        if event.trial is not None and self.run.find(event.trial).status == "ended":
            return None
        return None if self.run.is_closed else Asked(trial=event.trial)

    def _elapsed(self, event: Elapsed) -> Record | None:
        hours = self.spec.budget.hours
        if hours is None or event.seconds < hours * 3600 or self.run.is_closed:
            return None
        return Tick(elapsed=event.seconds)

    def _due(self, trial: TrialState) -> Record | None:
        """Let no trial begin of which it is known that no GPU can hold it: as it is, or with batches in two parts."""
        gpus = self.run.gpus
        if trial.of:
            return None  # it fits: its trial did
        if trial.given is not None or trial.losses or not self.run.is_sized(trial):
            return None
        if (whole := gpus.too_much(trial, 1)) is None:
            return None
        if (need := gpus.too_much_in_parts(trial, whole)) is not None:
            reason = f"{FORESEEN} {need / 2**20:,.0f} MiB of a GPU, by what others took, and none has more than "
            return Ended(trial=trial.id, outcome="infeasible", reason=f"{reason}{gpus.card / 2**20:,.0f}")
        if not gpus.splits:
            return None  # it may be that they can: only trying tells
        reason = "whole batches would not fit on a GPU, by what others took; they come in two parts"
        return Lost(trial=trial.id, reason=reason, cause="foresight", parts=2)

    def _failed(self, trial: TrialState, event: Failed) -> Record:
        ran_out = self._ran_out(trial) if event.on_gpu else 0
        if event.outcome == "infeasible" and (retry := self._with_more_memory(trial, event, ran_out)) is not None:
            return retry
        return Ended(trial=trial.id, outcome=event.outcome, reason=event.reason, error=event.error, ran_out=ran_out)

    def _ran_out(self, trial: TrialState) -> int:
        """Find the bytes that a trial had for its tensors; 0 where that is not known."""
        if trial.given is None or not trial.given.memory:
            return 0
        return trial.given.memory - (self.run.gpus.context if trial.given.gpus < 1 else 0)

    def _with_more_memory(self, trial: TrialState, event: Failed, ran_out: int) -> Lost | None:
        """Find what a trial that ran out of memory has not tried: batches in two parts, more of a GPU, a larger one."""
        if trial.in_a_row["memory"] >= MAX_LOSSES["memory"]:
            return None
        share, parts, more = trial.given.gpus if trial.given else 0.0, 0, 0.0
        if event.splits and trial.parts == 1:
            parts, what = 2, "its batches come in two parts now"
        elif 0 < share < 1 and ran_out and self.run.is_sized(trial):
            what = "it gets more of a GPU now"
        elif 0 < share < 1:
            more = floor_share(max(1, round(1 / share) // 2))
            what = f"it gets {more:g} of a GPU now"
        elif 0 < ran_out < self.run.gpus.card:
            what = "it waits for a larger GPU"
        else:
            return None
        reason = f"{event.reason}; {what}"
        return Lost(trial=trial.id, reason=reason, cause="memory", parts=parts, least_gpus=more, ran_out=ran_out)
