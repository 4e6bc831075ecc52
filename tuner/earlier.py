"""What a run learns from earlier ones: their trials, as its own space has them, and which are tried first."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.core.state import RunState, replay
from tuner.core.trial import TrialState
from tuner.errors import Problem, UserError
from tuner.ledger import read
from tuner.runs import find_run
from tuner.spec import bind
from tuner.spec.experiment import Experiment, Learned
from tuner.spec.load import Loaded
from tuner.spec.space import Choice, Float, Int, Params, SomeDimension, order
from tuner.storage import is_url

MOST = 200
"""So many trials of all earlier runs together are kept: a model gains little from more, and each suggestion costs."""
TRIED_FIRST = 3
"""So many of their best params are tried first, or one of each run, where there are more runs."""
USEFUL = (None, "finished", "stopped", "diverged")
"""The outcomes of trials that something can be learned from; None is that of one that had not ended."""
_NEVER = object()
"""Stands for a value that is not known."""


class _Unfit(Exception):
    """A run that nothing can be learned from: what must hold and what was got, and one fix."""

    def __init__(self, what: str, fix: str) -> None:
        self.what, self.fix = what, fix
        super().__init__(what)


def learn(loaded: Loaded) -> Loaded:
    """Read what `start.runs` names into `start.learned`, so that the run does not need those runs any more.

    Gives back what it got where there are none, or where it is done. Raises UserError with every problem.
    """
    start, purpose = loaded.experiment.start, _purpose(loaded.experiment)
    if not start.runs and not start.learned:
        return loaded
    # Earlier versions did not write for what it was learned.
    if start.learned and start.learned_for in ("", purpose) and _fits(start.learned, loaded.experiment):
        return loaded
    found = _learn_from_all(loaded)
    learned = choose(found, start.points) if found else []
    start = start.model_copy(update={"learned": learned, "learned_for": purpose if learned else ""})
    return replace(loaded, experiment=loaded.experiment.model_copy(update={"start": start}))


def _fits(learned: Sequence[Learned], spec: Experiment) -> bool:
    """Tell whether trials are of the runs that are named, and lie in the space."""
    inside = all(_in_space(spec, trial.params, Counter()) == trial.params for trial in learned)
    return inside and {trial.run for trial in learned} == set(spec.start.runs)


def _purpose(spec: Experiment) -> str:
    """Tell in short what is learned for: a digest of all that it hangs on in the spec."""
    goal, space = spec.objective, {name: dimension.model_dump() for name, dimension in spec.space.items()}
    parts = [_function(spec.trainable), spec.start.runs, goal.metric, goal.mode, spec.budget.epochs, spec.fixed, space]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _learn_from_all(loaded: Loaded) -> list[list[Learned]]:
    spec, defaults = loaded.experiment, _defaults(loaded)
    found: dict[str, list[Learned]] = {}
    problems: list[Problem] = []
    for place, run in enumerate(spec.start.runs):
        try:
            folder, state = _read(run)
            if folder in found:
                raise _Unfit(f"must be a run that is named once, but got {run} again", "Remove it.")
            found[folder] = trials_of(run, state, spec, defaults)
        except _Unfit as error:
            anew = " What start.learned holds was learned for other settings." if spec.start.learned else ""
            problems.append(Problem(loaded.runs_at[place], f"start.runs.{place}", error.what, f"{error.fix}{anew}"))
    if problems:
        raise UserError(*problems)
    return list(found.values())


def _defaults(loaded: Loaded) -> dict[str, Any]:
    """Read the function's defaults from its source: they counted where an earlier run did not give the param."""
    function = loaded.function
    bound = bind.given(function) if function else bind.find(loaded.trainable.ref, loaded.file.parent)
    return bound.signature.defaults if bound.signature else {}


def trials_of(run: str, state: RunState, spec: Experiment, defaults: Mapping[str, Any]) -> list[Learned]:
    """Give the trials of one run that lie in the space, the best first."""
    _refuse_strangers(run, state, spec)
    # What broke the constraints of that run, which this one has not, was trained as well as any.
    trials = [trial for trial in state.trials.values() if trial.breaks or trial.outcome in USEFUL]
    metric = spec.objective.metric
    if not any(metric in report.metrics for trial in trials for report in trial.reports):
        what = f"must be a run whose trials reported {metric}, but got {run}"
        if not any(trial.reports for trial in trials):
            raise _Unfit(f"{what}, where none has reported yet", "Remove it, or let it train first.")
        fix = "Remove it, or give its best params as start.points."
        raise _Unfit(f"{what}, which optimized {state.spec.objective.metric}", fix)
    outside: Counter[str] = Counter()
    comparable = _is_comparable(state.spec, spec, defaults)
    found = []
    for trial in trials:
        known = {**defaults, **state.spec.fixed, **trial.params}
        params = _in_space(spec, known, outside)
        if params is not None and trial.reports:
            found.append(_learned(run, trial, params, state.spec.budget.epochs, spec, comparable))
    if not found:
        raise _Unfit(*_nothing_in_common(run, len(trials), outside, {*defaults, *state.spec.fixed, *state.spec.space}))
    return sorted(found, key=lambda trial: -_score(trial, spec))


def _read(run: str) -> tuple[str, RunState]:
    """Read a run; gives its folder, or its URL, too."""
    try:
        folder = find_run(run)
        return run.rstrip("/") if is_url(run) else os.path.realpath(folder), replay(read(folder))
    except UserError as error:
        problem = error.problems[0]
        if isinstance(problem, str):
            raise _Unfit(f"must be a run that can be read, but got {run}: {problem.rstrip('.')}", "") from None
        must, _, why = problem.what.partition(", but ")
        raise _Unfit(f"{must}, but got {run}{'' if why == 'is not' else f': {why}'}", problem.fix) from None


def _refuse_strangers(run: str, state: RunState, spec: Experiment) -> None:
    """Refuse a run whose values cannot be ordered as this run's are."""
    new = spec.objective
    for old in state.spec.objectives:
        if old.metric == new.metric and old.mode != new.mode:
            raise _Unfit(f"must be a run with objective.mode {new.mode}, but got {run}, whose mode is {old.mode}",
                         "Correct the mode, or remove the run.")  # fmt: skip
    if state.spec.scheduler.kind == "pbt":
        raise _Unfit(f"must be a run whose trials keep their params, but got {run}, whose scheduler.kind is pbt",
                     "Give its best params as start.points.")  # fmt: skip


def _is_comparable(old: Experiment, new: Experiment, defaults: Mapping[str, Any]) -> bool:
    """Tell whether values mean the same in both runs: one function, and what neither searches is alike."""
    if _function(old.trainable) != _function(new.trainable):
        return False
    settled = {*old.fixed, *new.fixed} - {*old.space, *new.space}
    before, now = {**defaults, **old.fixed}, {**defaults, **new.fixed}
    return all(before.get(name, _NEVER) == now.get(name, _NEVER) for name in settled)


def _function(ref: str) -> tuple[str, str]:
    """Name a function, and its module without the folders around it: a path and a dotted name may mean the same."""
    target, _, function = ref.rpartition(":")
    return Path(target.removesuffix(".py").replace(".", "/")).name, function


def _in_space(spec: Experiment, known: Mapping[str, Any], outside: Counter[str]) -> Params | None:
    """Find the params of this space that mean what was tried; None, with the reason counted, if there are none."""
    params: Params = {}
    for name in order(spec.space):
        dimension = spec.space[name]
        if not dimension.active(params):
            continue
        value = _typed(dimension, known.get(name, _NEVER))
        if value is _NEVER or not dimension.contains(value):
            outside[name] += 1
            return None
        params[name] = dimension.values[dimension.index(value)] if isinstance(dimension, Choice) else value
    return params


def _typed(dimension: SomeDimension, value: Any) -> Any:
    """Turn 3 into 3.0 and back where a parameter has become a float, or an int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(dimension, Float):
        return float(value)
    return int(value) if isinstance(dimension, Int) and float(value).is_integer() else value


def _nothing_in_common(run: str, trials: int, outside: Counter[str], known: set[str]) -> tuple[str, str]:
    unknown = [name for name in outside if name not in known]
    if unknown:
        name = unknown[0]
        return (f"must be a run that tells the value of {name}, but got {run}, which had no such parameter, and the "
                "function has no plain default for it", f"Give {name} the default that it had then.")  # fmt: skip
    counts = ", ".join(f"{name} of {count}" for name, count in outside.most_common()) or "none has reported"
    return (f"must be a run with a trial that lies in this space, but got {run}, where none of {trials} does "
            f"(outside: {counts})", "Widen the range, or remove the run.")  # fmt: skip


def _learned(run: str, trial: TrialState, params: Params, last: int, spec: Experiment, comparable: bool) -> Learned:
    metric, score = spec.objective.metric, spec.objective.score
    values = {
        report.epoch: report.metrics[metric]
        for report in trial.reports
        if report.epoch <= spec.budget.epochs and math.isfinite(report.metrics.get(metric, math.nan))
    }
    best = max(values, key=lambda epoch: score(values[epoch]), default=0)
    epochs = [epoch for epoch in values if epoch in (best, max(values)) or epoch & (epoch - 1) == 0]
    return Learned(
        run=run, trial=trial.id, params=params, epochs=epochs, values=[float(values[epoch]) for epoch in epochs],
        last_epoch=last, diverged=trial.outcome == "diverged", comparable=comparable,
    )  # fmt: skip


def _score(trial: Learned, spec: Experiment) -> float:
    """Tell how good a trial was at its best: higher is better."""
    return max(map(spec.objective.score, trial.values), default=-math.inf)


def choose(runs: Sequence[Sequence[Learned]], points: Sequence[Mapping[str, Any]]) -> list[Learned]:
    """Choose what is tried first, and what is kept: of each run's share half are its best, half lie evenly among them.

    Without the bad ones nothing could be told from them.
    """
    tried: list[Mapping[str, Any]] = list(points)
    first: list[Learned] = []
    for trial in _in_turn(runs):
        if (
            len(first) < max(TRIED_FIRST, len(runs))
            and trial.values
            and not trial.diverged
            and trial.params not in tried
        ):
            first.append(trial.model_copy(update={"first": True}))
            tried.append(trial.params)
    names = {(trial.run, trial.trial) for trial in first}
    kept = [trial for run in runs for trial in _thinned(run, MOST // len(runs))]
    return [*first, *(trial for trial in kept if (trial.run, trial.trial) not in names)]


def _in_turn(runs: Sequence[Sequence[Learned]]) -> Iterator[Learned]:
    for place in range(max(map(len, runs))):
        yield from (run[place] for run in runs if place < len(run))


def _thinned(trials: Sequence[Learned], most: int) -> list[Learned]:
    if len(trials) <= most:
        return list(trials)
    best, rest = trials[: most // 2], trials[most // 2 :]
    share = most - len(best)
    return [*best, *(rest[i * len(rest) // share] for i in range(share))]
