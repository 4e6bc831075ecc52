"""Our rules and Ray Tune's own classes, driven with the same finite results in the same order.

They may differ only where Ray interpolates between two neighbours of a rung, and there a value lies in that gap.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, PopulationBasedTraining

from tuner.core.records import Ended, Report
from tuner.core.rules.hyperband import Hyperband

from .experiments import Hand, experiment

EPOCHS, TRIALS = 20, 30


class RayTrial:
    """What Ray's schedulers look at in a trial."""

    def __init__(self, name: str) -> None:
        self.trial_id = name
        self.status = Trial.RUNNING
        self.experiment_tag = name
        self.config = {"x": 1.0}
        self.run_metadata = SimpleNamespace(
            checkpoint_manager=SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None))
        )

    def is_finished(self) -> bool:
        return self.status == Trial.TERMINATED


class RayController:
    """What Ray's schedulers look at in the controller; it saves nothing, so that Ray's PBT never exploits."""

    search_alg = None

    def __init__(self, trials: list[RayTrial]) -> None:
        self.trials = trials

    def get_trials(self) -> list[RayTrial]:
        return self.trials

    def get_live_trials(self) -> set[RayTrial]:
        return {trial for trial in self.trials if not trial.is_finished()}

    def _schedule_trial_save(self, trial: RayTrial, result: dict[str, Any]) -> None:
        return None


class Pair:
    """The same trials in our run and in Ray's scheduler."""

    def __init__(self, ray: Any, mode: str, scheduler: dict[str, Any], trials: int = TRIALS) -> None:
        self.hand = Hand(
            experiment(
                scheduler=scheduler,
                objective={"metric": "score", "mode": mode},
                budget={"trials": trials, "epochs": EPOCHS},
            )
        )
        self.ray = ray
        self.names = self.hand.start(trials, x=0.5)
        self.trials = {name: RayTrial(name) for name in self.names}
        self.controller = RayController(list(self.trials.values()))
        for trial in self.trials.values():
            ray.on_trial_add(self.controller, trial)

    def ask_ray(self, name: str, epoch: int, value: float) -> str:
        result = {"training_iteration": epoch, "score": value}
        return str(self.ray.on_trial_result(self.controller, self.trials[name], result))


def arrivals(pair: Pair, dice: random.Random, skip: bool, ties: bool) -> Iterator[tuple[str, int, float]]:
    """Let live trials report in a random order, each with a level of its own, and never the last epoch."""
    level = {name: dice.random() for name in pair.names}
    while live := [t for t in pair.hand.core.run.having("running") if t.epoch < EPOCHS - 1]:
        trial = dice.choice(live)
        epoch = min(trial.epoch + (dice.randint(1, 4) if skip else 1), EPOCHS - 1)
        value = level[trial.id] + 0.3 * dice.random()
        yield trial.id, epoch, float(round(value * 5)) if ties else value


def neighbours(rung: list[float], share: float) -> tuple[float, float]:
    """The two recorded values between which numpy interpolates; one and the same where it does not."""
    low, high = (float(np.percentile(rung, share * 100, method=method)) for method in ("lower", "higher"))
    return low, high


def compare_rungs(pair: Pair, brackets: dict[str, int], dice: random.Random, skip: bool, ties: bool) -> Counter[str]:
    """Count agreements, and differences inside Ray's interpolation; any other difference fails."""
    counts: Counter[str] = Counter()
    objective = pair.hand.spec.objective
    for name, epoch, value in arrivals(pair, dice, skip, ties):
        bracket = pair.ray._trial_info[name]
        before = {milestone: list(recorded.values()) for milestone, recorded in bracket._rungs}
        action = pair.ask_ray(name, epoch, value)
        decision = pair.hand.report(name, epoch, value)
        ours = "STOP" if decision.action == "end" else "CONTINUE"
        new = [milestone for milestone, recorded in bracket._rungs if len(recorded) > len(before[milestone])]
        mark = decision.mark
        assert ([] if mark is None else [mark.epoch]) == new, "both put the trial on the same rung, or on none"
        if mark is not None:
            assert mark.bracket == brackets[name]
            rung = pair.hand.core.run.rungs[mark.bracket, mark.epoch]
            assert sorted(-entry[0] for entry in rung) == sorted(dict(bracket._rungs)[mark.epoch].values())
        if ours == action:
            counts[f"both {ours}" if mark else "no rung"] += 1
            continue
        assert mark is not None
        low, high = neighbours(before[mark.epoch], 1 - 1 / bracket.rf)
        score = objective.score(value)
        assert low < high, "they differ where Ray does not interpolate"
        assert low <= score <= high, "they differ outside of the gap that Ray interpolates"
        counts["differ"] += 1
    return counts


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("skip", [False, True], ids=["every epoch", "skipping"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_asha(factor: int, skip: bool, ties: bool) -> None:
    counts: Counter[str] = Counter()
    for seed in range(3):
        dice = random.Random(seed)
        mode = dice.choice(["min", "max"])
        # With stop_last_trials Ray holds a trial that skipped a rung against it at its next report; it means not to.
        ray = AsyncHyperBandScheduler(
            "training_iteration", "score", mode, EPOCHS, 1, factor, brackets=1, stop_last_trials=not skip
        )
        pair = Pair(ray, mode, {"kind": "asha", "quota": False, "grace_epochs": 1, "reduction_factor": factor})
        counts += compare_rungs(pair, dict.fromkeys(pair.names, 0), dice, skip, ties)
    assert min(counts["both STOP"], counts["both CONTINUE"], counts["no rung"]) > 25
    assert counts["differ"] < 0.1 * counts.total()
    assert counts["differ"] > 0 or ties


def test_asha_agrees_everywhere_where_ray_has_nothing_to_interpolate() -> None:
    """A factor of 2 and rungs that hold an odd number of trials: the place of the cutoff is whole."""
    for seed in range(40):
        dice = random.Random(seed)
        mode = dice.choice(["min", "max"])
        ray = AsyncHyperBandScheduler("training_iteration", "score", mode, EPOCHS, 1, 2)
        pair = Pair(ray, mode, {"kind": "asha", "quota": False, "reduction_factor": 2}, trials=10)
        for name in pair.names[:9]:
            value = dice.random()
            pair.ask_ray(name, 1, value)
            pair.hand.report(name, 1, value)
        value = dice.random()
        action = pair.ask_ray(pair.names[9], 1, value)
        assert (action == "STOP") == (pair.hand.report(pair.names[9], 1, value).action == "end")


@pytest.mark.parametrize("skip", [False, True], ids=["every epoch", "skipping"])
@pytest.mark.parametrize("factor", [2, 3])
def test_hyperband_with_our_brackets(factor: int, skip: bool) -> None:
    counts: Counter[str] = Counter()
    for seed in range(3):
        dice = random.Random(seed)
        mode = dice.choice(["min", "max"])
        ray = AsyncHyperBandScheduler(
            "training_iteration", "score", mode, EPOCHS, 1, factor, brackets=3, stop_last_trials=not skip
        )
        pair = Pair(ray, mode, {"kind": "hyperband", "reduction_factor": factor, "brackets": 3})
        rule = pair.hand.core.rule
        assert isinstance(rule, Hyperband)
        for bracket, rungs in zip(ray._brackets, rule.ladder.brackets, strict=True):
            assert sorted(epoch for epoch, _ in bracket._rungs if epoch < EPOCHS) == rungs
        brackets = {name: rule.bracket(number) for number, name in enumerate(pair.names)}
        for name, bracket in brackets.items():
            ray._trial_info[name] = ray._brackets[bracket]
        counts += compare_rungs(pair, brackets, dice, skip, ties=False)
    assert min(counts["both STOP"], counts["both CONTINUE"], counts["no rung"]) > 25
    assert 0 < counts["differ"] < 0.1 * counts.total()


@pytest.mark.parametrize(("grace", "least"), [(1, 3), (4, 1), (2, 10)])
@pytest.mark.parametrize("skip", [False, True], ids=["every epoch", "skipping"])
def test_median(grace: int, least: int, skip: bool) -> None:
    """No cutoff of theirs is interpolated between ranks, so the two agree at every report."""
    counts: Counter[str] = Counter()
    for seed in range(3):
        dice = random.Random(seed)
        mode = dice.choice(["min", "max"])
        ray = MedianStoppingRule("training_iteration", "score", mode, grace, least)
        pair = Pair(ray, mode, {"kind": "median", "grace_epochs": grace, "min_trials": least}, trials=20)
        for name, epoch, value in arrivals(pair, dice, skip, ties=False):
            action = pair.ask_ray(name, epoch, value)
            decision = pair.hand.report(name, epoch, value)
            assert (action == "STOP") == (decision.action == "end")
            counts[action if decision.mark else "no median"] += 1
    assert min(counts["STOP"], counts["CONTINUE"], counts["no median"]) > 10


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize(("quantile", "interval"), [(0.25, 1), (0.5, 1), (0.1, 3), (0.4, 2)])
def test_pbt_finds_the_same_members_in_the_lower_and_the_upper_quantile(
    quantile: float, interval: int, ties: bool
) -> None:
    counts: Counter[str] = Counter()
    for seed in range(3):
        dice = random.Random(seed)
        mode = dice.choice(["min", "max"])
        ray = PopulationBasedTraining(
            "training_iteration", "score", mode, interval, hyperparam_mutations={"x": [0.5, 1.0]},
            quantile_fraction=quantile, log_config=False,
        )  # fmt: skip
        scheduler = {"kind": "pbt", "interval_epochs": interval, "quantile": quantile}
        pair = Pair(ray, mode, scheduler, trials=dice.randint(2, 12))
        for name, epoch, value in arrivals(pair, dice, skip=False, ties=ties):
            pair.ask_ray(name, epoch, value)
            record = pair.hand.core.decide(pair.hand.reported(name, epoch, value))
            assert isinstance(record, Report)
            mark, clone = record.decision.mark, record.decision.clone
            # Neither side exploits, so that what is compared stays the same.
            pair.hand.take(replace(record, decision=replace(record.decision, action="go", clone=None)))
            assert (mark is None) == (epoch % interval != 0)
            if mark is None:
                continue
            lower, upper = ([trial.trial_id for trial in quantile] for quantile in ray._quantiles())
            assert (name in lower) == (clone is not None)
            assert clone is None or clone.donor in upper
            assert mark.cutoff is None or mark.rank <= mark.of
            counts["lower" if name in lower else "upper" if name in upper else "between"] += 1
            if dice.random() < 0.01:
                pair.hand.take(Ended(trial=name, outcome="failed", reason="x"))
                pair.trials[name].status = Trial.TERMINATED
    assert min(counts["lower"], counts["upper"]) > 10
    assert counts["between"] > 10 or quantile == 0.5
