"""What a run is going to cost, as far as that can be known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core import chance
from tuner.core.records import Report
from tuner.core.rules import make_rule
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Random

MOST_EPOCHS = 20_000
MOST_TRIALS = 200
"""More are scaled up from as many."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An estimate of a run, from its own scheduler on values that are mere chance."""

    epochs: int
    """Epochs of all trials together."""
    reach: dict[int, int]
    """Epoch of each rung, and the last → how many trials get there; empty where a model of the run's own decides it."""
    repeats: int
    """The most repeats on fresh seeds, each to the last epoch, that come after them."""


def plan(spec: Experiment, slots: int) -> Plan:
    """Play the run on curves that keep their order from the first epoch to the last."""
    repeats = min(spec.confirm.top, spec.trials) * spec.confirm.seeds if spec.confirm else 0
    if spec.total_epochs is not None:
        return Plan(spec.total_epochs, {}, repeats)
    if spec.scheduler.kind == "none":
        return Plan(spec.trials * spec.budget.epochs, {spec.budget.epochs: spec.trials}, repeats)
    trials = min(spec.trials, MOST_TRIALS, max(10, MOST_EPOCHS // spec.budget.epochs))
    update: dict[str, Any] = {
        "budget": spec.budget.model_copy(update={"trials": trials, "target": None, "hours": None}),
        "search": Random(kind="random"),
        "start": type(spec.start)(),
        "confirm": None,
        "constraints": {},
    }
    tried = spec.model_copy(update=update)

    def curve(params: Mapping[str, Any], epoch: int) -> dict[str, float]:
        key = repr(sorted(params.items()))
        others = {goal.metric: chance.uniform(0, "plan", key, goal.metric) for goal in spec.objectives[1:]}
        return {spec.objective.metric: chance.uniform(0, "plan", key), **others}

    simulation = Simulation(tried, curve, slots)
    reports = [record for record in simulation.run() if isinstance(record, Report)]
    scale = spec.trials / trials
    epochs = [*sorted(make_rule(spec).saved_epochs()), spec.budget.epochs]
    reach = {e: len({report.trial for report in reports if report.epoch >= e}) for e in dict.fromkeys(epochs)}
    return Plan(round(len(reports) * scale), {epoch: round(count * scale) for epoch, count in reach.items()}, repeats)
