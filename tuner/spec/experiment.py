"""The frozen spec: every key of the YAML, its default, and the rules between keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count, pairwise, takewhile
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from tuner.errors import UserError
from tuner.spec import rules
from tuner.spec import space as spaces
from tuner.spec.kinds import (
    AnyScheduler,
    AnySearch,
    Asha,
    AutoScheduler,
    AutoSearch,
    Cmaes,
    Gp,
    Grid,
    Hyperband,
    Median,
    NoScheduler,
    Nsga2,
    Pbt,
    Qmc,
    Random,
    Search,
    Tpe,
)
from tuner.spec.loggers import AnyLoggers
from tuner.spec.model import Finite, Model, SpecProblems
from tuner.spec.objective import AnyObjective, Limit, LimitText, Objective, limits
from tuner.spec.resources import AnyResources, Resources, choose, entries
from tuner.spec.rules import Parts
from tuner.spec.space import AnyDimension, Choice, Float, Int, Params
from tuner.spec.start import Learned, Start

DEFAULT_KINDS = {"search": "tpe", "scheduler": "asha"}


class Budget(Model):
    """When the run ends."""

    trials: int = Field(ge=1)
    """How many configurations are tried; with `pbt` the size of the population."""
    epochs: int = Field(ge=1)
    """The most epochs of one trial."""
    hours: Finite | None = Field(default=None, gt=0)
    """A hard cap on the run's time, all sessions together."""
    target: Finite | None = None
    """End the run as soon as the metric is this good."""


class Checkpoint(Model):
    """When a trial is saved, and what is kept."""

    every: int = Field(default=1, ge=1)
    """Save at every so many epochs; rungs, intervals of PBT and the last epoch are saved in any case.

    Where reports skip one of these epochs, the report that passes it is saved.
    """
    keep: int = Field(default=1, ge=1)
    """Checkpoints kept of each live trial, beside those that are needed."""


class Watchdog(Model):
    """When a silent trial is taken for hung, killed and begun again from its last checkpoint."""

    seconds: Finite = Field(default=300.0, gt=0)
    """The least silence (seconds); a trial hangs when both bounds are passed."""
    factor: Finite = Field(default=10.0, ge=1)
    """The least silence, in slowest epochs: the trial's own, before its first report any trial's."""

    def patience(self, slowest: float) -> float:
        """Tell how long a silence is borne where the slowest epoch took so long, both in seconds."""
        return max(self.seconds, self.factor * slowest)


class Confirm(Model):
    """The best trials are run again on fresh seeds when the search is over, and the best of those wins."""

    top: int = Field(default=3, ge=1)
    """How many of the best trials are repeated."""
    seeds: int = Field(default=5, ge=2)
    """On how many fresh seeds, each to the last epoch; a clear loser is dropped earlier."""


class Experiment(Model):
    """One experiment, as its YAML describes it."""

    trainable: str
    """`module:function` or `path/to/file.py:function`."""
    objective: AnyObjective
    """What is optimized: one mapping, or a list of them."""
    budget: Budget
    """When the run ends."""
    space: dict[str, AnyDimension] = Field(min_length=1)
    """The parameters that are searched, by name."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the function that stay the same."""
    constraints: dict[str, LimitText] = Field(default_factory=dict)
    """Limits by reported metric, such as `{latency_ms: "<= 5"}`; what breaks one ranks behind all that break none."""
    start: Start = Field(default_factory=Start)
    """What is tried before the search begins, and what it knows already."""
    search: AnySearch = Field(default_factory=Tpe)
    """How new params are found; where no `scheduler` is given either, `auto` if trials can pause, else `random`."""
    scheduler: AnyScheduler = Field(default_factory=Asha)
    """Which trials go on; `{kind: auto}` with a search of that kind."""
    resources: AnyResources = Field(default_factory=Resources)
    """What one trial gets; in a list the first entry whose `when` holds."""
    checkpoint: Checkpoint = Field(default_factory=Checkpoint)
    """When a trial is saved, and what is kept."""
    watchdog: Watchdog = Field(default_factory=Watchdog)
    """When a silent trial is taken for hung; each time that it is, it gets twice as long."""
    confirm: Confirm | None = None
    """Repeat the best trials on fresh seeds before one of them is called the best."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """What `trial.autocast()` computes in; fp16 needs `trial.scaler` too."""
    seed: int = Field(default=0, ge=0)
    """Fixes params, initial weights and the order of the data."""
    storage: str | None = Field(default=None, min_length=1)
    """Folder in which the run's own folder is made, or a URL such as `s3://bucket/runs`; `runs` by default."""
    loggers: AnyLoggers = Field(default_factory=list)
    """Where else the run is told of: `csv`, or mappings such as `{kind: wandb, project: p}`."""
    test: str | None = None
    """`module:function`, called once as `function(trial, **params)` for the best trial."""

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, value: Any) -> Any:
        """Let `scheduler: {grace_epochs: 2}` mean the default kind."""
        return with_kinds(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        parts = Parts(tuple(self.space), self.space, self.fixed, self.start,
                      self.search, self.scheduler, self.budget.trials, self.budget.epochs, self.resources,
                      self.confirm is not None, self.objectives, self.budget.target is not None,
                      bool(self.constraints))  # fmt: skip
        if problems := list(rules.check(parts)):
            raise SpecProblems(problems)
        return self

    @property
    def objectives(self) -> list[Objective]:
        """All objectives; the first one is `objective` where one is asked for."""
        return self.objective.all

    @property
    def goal(self) -> str:
        """Say what is looked for: `max val_accuracy, min latency_ms, with latency_ms <= 5`."""
        limits = f", with {', '.join(map(str, self.limits))}" if self.constraints else ""
        return ", ".join(f"{objective.mode} {objective.metric}" for objective in self.objectives) + limits

    @property
    def limits(self) -> list[Limit]:
        """The constraints, read."""
        return limits(self.constraints)

    @property
    def total_epochs(self) -> int | None:
        """The epochs of all trials together after which `auto` ends; None for other kinds of search."""
        if not isinstance(self.search, AutoSearch):
            return None
        epochs = self.search.epochs or math.ceil(self.budget.trials * halved_epochs(self.budget.epochs))
        return min(epochs, self.budget.trials * self.budget.epochs)

    @property
    def trials(self) -> int:
        """How many trials there will be: a grid may hold fewer points than the budget allows."""
        if self.search.kind == "grid":
            return min(self.budget.trials, spaces.grid_size(self.space))
        return self.budget.trials

    def with_parts(self, parts: Mapping[str, Mapping[str, Any]]) -> Self:
        """Give the same experiment with these parts of its sections changed: `{"budget": {"trials": 9}}`."""
        before: dict[str, Any] = {key: getattr(self, key) for key in parts}
        if "confirm" in parts and self.confirm is None:
            before["confirm"] = Confirm()
        changed = {key: type(old).model_validate({**old.model_dump(), **parts[key]}) for key, old in before.items()}
        return self.model_copy(update=changed)

    def resources_of(self, params: Mapping[str, Any]) -> Resources:
        """Find what a trial with these params of its own gets."""
        return choose(self.resources, {**self.fixed, **params})

    @property
    def resource_entries(self) -> list[Resources]:
        """All that trials may get; the last one is for those that no other entry names."""
        return entries(self.resources)

    @property
    def most_at_once(self) -> int:
        """The most trials that there could be work for at once, over all: in the search, or in the confirmation."""
        return max(self.trials, self.confirm.top * self.confirm.seeds if self.confirm else 0)

    @property
    def max_trials(self) -> int | None:
        """The most trials at once; None for as many as fit."""
        return self.resource_entries[-1].max_trials

    @property
    def search_seed(self) -> int:
        """The seed of the search."""
        return self.seed if self.search.seed is None else self.search.seed


def kept(values: Mapping[str, Any], name: str) -> Experiment:
    """Read the settings that a run's ledger holds; raises UserError where they are of another version."""
    scheduler = values.get("scheduler")
    if isinstance(scheduler, Mapping) and scheduler.get("kind") == "asha":
        values = {**values, "scheduler": {"quota": False, **scheduler}}  # before there was the key
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        what = "must be settings that this version of tuner knows, but are not. Use the run's own, or a later one."
        raise UserError(f"{name}: {place}: {what}") from None


def is_several(objective: Any) -> bool:
    """Tell whether these plain values are several objectives; nothing is stopped early then unless it is asked for."""
    return isinstance(objective, list) and len(objective) > 1


def halved_epochs(last: int) -> float:
    """Tell how many epochs successive halving trains a trial for in the mean: one in three goes on from 1, 3, 9, …"""
    rungs = [0, *takewhile(lambda rung: rung < last, (3**k for k in count())), last]
    return math.fsum((after - before) / 3**k for k, (before, after) in enumerate(pairwise(rungs)))


def with_kinds(value: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the kinds of search and scheduler where they are left out; `auto` stands for both."""
    if is_several(value.get("objective")) and "search" not in value:
        value = {"search": {"kind": "tpe"}, **value}
    parts = {key: value[key] for key in DEFAULT_KINDS if isinstance(value.get(key), dict)}
    is_auto = any(part.get("kind") == "auto" for part in parts.values())
    filled = {key: {"kind": DEFAULT_KINDS[key], **part} for key, part in parts.items()}
    if is_auto:
        filled = {**{key: {"kind": "auto"} for key in DEFAULT_KINDS if key not in value}, **filled}
    elif is_several(value.get("objective")) and "scheduler" not in value:
        filled = {"scheduler": {"kind": "none"}, **filled}
    return {**value, **filled}


__all__ = [
    "AnyDimension", "AnyScheduler", "AnySearch", "Asha", "AutoScheduler", "AutoSearch", "Budget", "Checkpoint",
    "Choice", "Cmaes", "Confirm", "Experiment", "Float", "Gp", "Grid", "Hyperband", "Int", "Learned", "Median",
    "NoScheduler", "Nsga2", "Objective", "Params", "Pbt", "Qmc", "Random", "Resources", "Search", "SpecProblems",
    "Start", "Tpe", "Watchdog",
]  # fmt: skip
