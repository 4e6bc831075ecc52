"""A searcher over an Optuna study that is kept in step with the ledger."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tuner.core.records import Asked, Ended, Record, Report, Suggested
from tuner.core.search.asker import Suggestion
from tuner.core.search.earlier import distribution, frozen, indexed
from tuner.core.search.first import first
from tuner.core.search.outcomes import STATES
from tuner.core.standing import excesses, values
from tuner.core.state import RunState
from tuner.core.trial import TrialState as Known
from tuner.spec.experiment import Experiment
from tuner.spec.space import Choice, Float, Int, order

logging.getLogger("optuna").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=ExperimentalWarning)


class StudySearcher:
    """Ask an Optuna sampler, with a study that is built from records alone.

    The study that asked and one that was rebuilt from the ledger give the same suggestions: the sampler is made
    anew for each, seeded by its number (a contract test holds every kind to it).
    """

    def __init__(self, spec: Experiment, make_sampler: Callable[[Experiment, int], BaseSampler]) -> None:
        self.spec, self.make_sampler = spec, make_sampler
        self.study = optuna.create_study(directions=directions(spec), sampler=RandomSampler(seed=0))
        self.run = RunState()
        self.names = order(spec.space)
        # CMA-ES keeps its state there, NSGA-II its generations; the others what they drew for params that turned out
        # to be inactive, and while the trial runs that counts. Without conditions the params say it all.
        conditional = any(dimension.when for dimension in spec.space.values())
        self.keeps_attributes = conditional or spec.search.kind in ("cmaes", "nsga2")
        # Optuna knows no values on the way to several objectives, and NSGA-II learns of complete trials alone.
        self.takes_stopped = len(spec.objectives) > 1 or spec.search.kind == "nsga2"
        for trial in frozen(spec):
            self.study.add_trial(trial)
        self.earlier = len(self._trials())
        """So many trials of earlier runs are in the study."""
        self._last: tuple[int, Suggestion] | None = None

    def observe(self, record: Record) -> None:
        """Bring the study up to date with one record."""
        was_closed = self.run.closed
        self.run.apply(record)
        if isinstance(record, Suggested):
            self._add(record)
        elif self.run.closed != was_closed:
            for name in self.run.trials:
                self._tell(name)
        elif isinstance(record, Report | Ended | Asked) and record.trial in self.run.trials:
            self._tell(record.trial)

    def suggest(self, number: int) -> Suggestion:
        """Ask the sampler for the params of trial `number`; asked again, give the same answer."""
        if self._last is None or self._last[0] != number:
            self._last = (number, self._ask(number))
        return self._last[1]

    @property
    def is_starting(self) -> bool:
        """Tell whether the sampler still draws at random: too few trials have ended that it learns from."""
        learns_from = {TrialState.COMPLETE}
        if isinstance(self.make_sampler(self.spec, 0), TPESampler):
            learns_from.add(TrialState.PRUNED)
        return sum(trial.state in learns_from for trial in self._trials()) < getattr(self.spec.search, "startup", 0)

    def _ask(self, number: int) -> Suggestion:
        if (given := first(self.spec, number)) is not None:
            self.study.enqueue_trial(indexed(self.spec, given.params))
        self.study.sampler = self.make_sampler(self.spec, number)
        try:
            trial = self.study.ask()
            params, choices = self._draw(trial)
        finally:
            # Samplers are told nothing afterwards: what they know must come from the study.
            self.study.sampler = RandomSampler(seed=0)
        attributes = self._trial(number).system_attrs if self.keeps_attributes else {}
        return Suggestion(params, choices, self.run.records, dict(attributes))

    def _draw(self, trial: Trial) -> tuple[dict[str, Any], dict[str, int]]:
        params: dict[str, Any] = {}
        choices: dict[str, int] = {}
        for name in self.names:
            dimension = self.spec.space[name]
            if not dimension.active(params):
                continue
            value = self._suggest(trial, name, dimension)
            if isinstance(dimension, Choice):
                choices[name], value = value, dimension.values[value]
            params[name] = value
        return params, choices

    @staticmethod
    def _suggest(trial: Trial, name: str, dimension: Float | Int | Choice) -> Any:
        if isinstance(dimension, Choice):
            return trial.suggest_categorical(name, range(len(dimension.values)))
        if isinstance(dimension, Int):
            return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log, step=dimension.step)
        value = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log, step=dimension.step)
        return value.item() if isinstance(value, np.floating) else value  # Optuna clips at the upper bound by numpy

    def _add(self, record: Suggested) -> None:
        if record.number < len(self._trials()) - self.earlier:
            return  # It was asked here.
        params = {name: record.choices.get(name, value) for name, value in record.params.items()}
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions={name: distribution(self.spec.space[name]) for name in params},
                system_attrs=record.attributes,
            )
        )

    def _tell(self, name: str) -> None:
        trial = self.run.trials[name]
        told = self._trial(trial.number)
        if trial.status != "ended" or told.state.is_finished():
            return
        assert trial.outcome is not None
        handle, state = Trial(self.study, told._trial_id), STATES[trial.outcome]
        if trial.breaks or (trial.outcome == "stopped" and trial.best is not None and self.takes_stopped):
            state = TrialState.COMPLETE
        elif trial.outcome == "infeasible" and self.spec.search.kind == "tpe":
            # As a failure the sampler would not hear of it, and propose its neighbours.
            handle.set_constraint("memory", 1.0)
            state = TrialState.PRUNED
        if trial.outcome != "diverged":
            self._tell_on_the_way(handle, trial)
        if state == TrialState.COMPLETE and trial.best is not None:
            self.study.tell(told.number, list(values(self.spec, trial.best.metrics).values()))
        else:
            self.study.tell(told.number, state=TrialState.FAIL if state == TrialState.COMPLETE else state)

    def _trial(self, number: int) -> FrozenTrial:
        """Find a trial of this run: those of earlier runs come before it in the study."""
        return self._trials()[self.earlier + number]

    def _tell_on_the_way(self, handle: Trial, trial: Known) -> None:
        """Tell by how much a trial breaks each constraint, and its values so far, where there is one objective."""
        if trial.best is not None:
            for name, over in excesses(self.spec, trial.best.metrics).items():
                handle.set_constraint(name, over)
        if len(self.spec.objectives) > 1:
            return
        told = {report.epoch: self.run.objective(report) for report in trial.reports}
        for epoch, value in told.items():
            if math.isfinite(value):
                handle.report(value, epoch)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)


def directions(spec: Experiment) -> list[StudyDirection]:
    """Translate the modes of the objectives."""
    return [getattr(StudyDirection, "MAXIMIZE" if one.mode == "max" else "MINIMIZE") for one in spec.objectives]
