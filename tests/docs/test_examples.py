"""The examples of searches and schedulers, played to their end by the core: no Ray, no training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pages import blocks

from tuner.api import load
from tuner.core.records import Ended, Record, Report, Suggested
from tuner.core.rules import make_rule
from tuner.core.state import replay
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.spec.keys import KINDS

pytestmark = pytest.mark.slow

SEARCHES, SCHEDULERS = (list(KINDS[name]) for name in ("search", "scheduler"))
FEW = {"gp": 11}
"""So many trials of a run are played: Optuna's Gaussian process takes half a second for each that it models."""


def example(page: str, folder: Path) -> Experiment:
    (block,) = (block for block in blocks(page) if block.language == "yaml")
    assert block.file
    (folder / block.file).write_text(block.text)
    return load(folder / block.file).experiment


def curve(params: Mapping[str, Any], epoch: int) -> float:
    """Be good near lr 0.01 and small dropout; near the end of training more so."""
    return abs(math.log10(params.get("lr", 0.01)) + 2) + params.get("dropout", 0.0) + 1 / epoch


def play(spec: Experiment, trials: int | None = None) -> list[Record]:
    budget = spec.budget.model_copy(update={"trials": min(spec.budget.trials, trials or spec.budget.trials)})
    first, *others = spec.objectives

    def told(params: Mapping[str, Any], epoch: int) -> dict[str, float]:
        return {first.metric: curve(params, epoch), **{one.metric: float(params["width"]) for one in others}}

    return Simulation(spec.model_copy(update={"budget": budget}), told, slots=2).run()


def epochs(records: list[Record]) -> dict[str, int]:
    """Count the epochs of each trial."""
    return {name: len(trial.reports) for name, trial in replay(records).trials.items()}


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_suggests_params_of_its_space(kind: str, tmp_path: Path) -> None:
    spec = example(f"docs/search/{kind}.md", tmp_path)
    assert spec.search.kind == kind
    records = play(spec, FEW.get(kind))
    found = [record.params for record in records if isinstance(record, Suggested)]
    most = FEW.get(kind, spec.budget.trials)
    assert len(found) == most or (kind == "auto" and 20 < len(found) < most)
    assert len({repr(params) for params in found}) == len(found)
    for params in found:
        assert all(spec.space[name].contains(value) for name, value in params.items())
    assert replay(records).finished()


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_a_search_that_learns_comes_nearer(kind: str, tmp_path: Path) -> None:
    records = play(example(f"docs/search/{kind}.md", tmp_path))
    found = [curve(record.params, 9) for record in records if isinstance(record, Suggested)]
    assert sum(found[-10:]) < sum(found[1:11])


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_scheduler_ends_every_trial(kind: str, tmp_path: Path) -> None:
    spec = example(f"docs/schedulers/{kind}.md", tmp_path)
    assert spec.scheduler.kind == kind
    records = play(spec)
    counted = epochs(records)
    assert len(counted) == spec.budget.trials or (kind == "auto" and len(counted) > 20)
    assert max(record.epoch for record in records if isinstance(record, Report)) == spec.budget.epochs
    full = spec.budget.trials * spec.budget.epochs
    if kind in ("auto", "asha", "hyperband", "median"):
        assert sum(counted.values()) < full
        assert any(isinstance(record, Ended | Report) and _stopped(record) for record in records)
    if kind == "none":
        assert sum(counted.values()) == full
    if kind == "pbt":
        assert any(isinstance(record, Report) and record.decision.clone for record in records)


def _stopped(record: Ended | Report) -> bool:
    return (record.outcome if isinstance(record, Ended) else record.decision.outcome) == "stopped"


def test_hyperband_has_the_brackets_that_its_page_names(tmp_path: Path) -> None:
    spec = example("docs/schedulers/hyperband.md", tmp_path)
    rule = make_rule(spec)
    assert [min(rungs, default=None) for rungs in rule.ladder.brackets] == [1, 3, 9, None]  # type: ignore[attr-defined]
