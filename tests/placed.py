"""Placements for their tests, and what a trial with such params wants."""

from __future__ import annotations

from typing import Any

from core.experiments import experiment

from tuner.core.gpus import Gpus
from tuner.core.trial import TrialState
from tuner.engine.machines import Node, Want
from tuner.engine.placement import Placement

TWO = [Node(8, 2)]


def placement(resources: Any, nodes: Any = TWO, trials: int = 50) -> Placement:
    return Placement(experiment(resources=resources, budget={"trials": trials, "epochs": 2}), nodes)


def want(made: Placement, known: Gpus | None = None, **params: Any) -> Want:
    trial = TrialState(id=str(params), number=0, params=params, choices={})
    return made.want(trial, known or Gpus.of({}))
