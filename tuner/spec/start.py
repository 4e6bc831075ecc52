"""What a run begins with: points that are tried first, and what earlier runs found."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from tuner.spec.model import Broken, Finite, Model, SpecProblems

LEARNING = ("auto", "tpe", "gp")
"""The kinds of search that take earlier trials for trials of their own; the others try the best of them first."""


class Learned(Model):
    """A trial of an earlier run, as far as this one learns from it."""

    run: str
    """The run as `start.runs` names it."""
    trial: str
    """The trial's name there."""
    params: dict[str, Any]
    """Its params, as this run's space has them."""
    epochs: list[int]
    """Epochs at which a value is kept: 1, 2, 4, …, the best and the last, none above this run's `budget.epochs`."""
    values: list[Finite]
    """The metric at those epochs."""
    last_epoch: int
    """The last epoch of a whole trial of that run."""
    diverged: bool = False
    """Its value was infinite or NaN in the end."""
    comparable: bool = False
    """Its values mean here what they meant there: the same function on the same `fixed` params."""
    first: bool = False
    """Its params are tried first."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.values) != len(self.epochs):
            what = f"must hold a value for each of the {len(self.epochs)} epochs, but got {len(self.values)}"
            raise SpecProblems([Broken(("values",), what, "Leave it as the run's experiment.yaml has it.")])
        return self


class Start(Model):
    """What is tried before the search begins, and what it knows already."""

    points: list[dict[str, Any]] = Field(default_factory=list)
    """Params tried first; those left out are drawn by the search."""
    runs: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Earlier runs to learn from: names under `runs/`, folders or URLs."""
    learned: list[Learned] = Field(default_factory=list)
    """What was learned from them; written when the run begins, so that it does not need them any more."""
    learned_for: str = ""
    """What that holds for, written with it: it is learned anew where `runs`, the space or the like has changed."""

    @property
    def tried_first(self) -> list[Learned]:
        """List the trials of earlier runs whose params are tried first, in that order."""
        return [trial for trial in self.learned if trial.first]

    def told(self, kind: str, trials: int) -> str:
        """Say in a phrase from what a kind of search begins a run of so many trials; empty where it is from nothing."""
        begins, count = [], len(self.points)
        if count > trials:
            begins.append(f"{trials} of {count} start points (budget.trials allows no more)")
        elif count:
            begins.append(f"{count} start point{'s' if count > 1 else ''}")
        for run in self.runs if self.learned else []:
            learned = [trial for trial in self.learned if trial.run == run]
            if kind in LEARNING and any(trial.comparable for trial in learned):
                begins.append(f"{len(learned)} trials of {run}")
            elif count < trials:
                begins.append(f"the best params of {run}")
        return " and ".join(begins)
