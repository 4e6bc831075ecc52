"""The search with trials of earlier runs: what it begins with, what it learns, and that the ledger fixes it all."""

from __future__ import annotations

import statistics
from dataclasses import asdict, replace
from typing import Any

import pytest
from optuna.trial import TrialState

from tuner.core.records import Suggested, trial_id
from tuner.core.search.kinds import KINDS
from tuner.core.search.prior import sample
from tuner.core.search.study import StudySearcher
from tuner.spec.experiment import Experiment

from .experiments import CONDITIONAL, PLAIN, curve, experiment, lines, play
from .searches import best, smooth

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:.x0. has been")

CASES: dict[str, tuple[dict[str, Any], int]] = {
    "tpe": (PLAIN, 16),
    "tpe conditional": (CONDITIONAL, 16),
    "random": (CONDITIONAL, 12),
    "cmaes": (PLAIN, 10),
    "gp": ({name: PLAIN[name] for name in ("lr", "momentum")}, 5),  # each of its models takes long
}
"""A kind, and how many trials."""


def learned(space: dict[str, Any], comparable: bool = True) -> list[dict[str, Any]]:
    """Make what an earlier run of up to nine epochs found: every other trial had all of them."""
    drawn = [sample(experiment(space=space).space, 0, "earlier", number) for number in range(12)]
    return [
        {
            "run": "A", "trial": trial_id(number), "params": params, "last_epoch": 9, "comparable": comparable,
            "epochs": epochs, "values": [curve(params, epoch) for epoch in epochs],
            "diverged": number == 3, "first": number < 3,
        }
        for number, params in enumerate(drawn)
        for epochs in [[1, 2, 4, 9] if number % 2 == 0 else [1]]
    ]  # fmt: skip


def spec(case: str, **parts: Any) -> Experiment:
    space, trials = CASES[case]
    usual: dict[str, Any] = {
        "search": {"kind": case.partition(" ")[0]},
        "start": {"runs": ["A"], "learned": learned(space)},
        "space": {**space, "lr": {**space["lr"], "prior": 0.01}},
        "budget": {"trials": trials, "epochs": 9},
    }
    return experiment(**{**usual, **parts})


@pytest.mark.parametrize("case", CASES)
def test_a_study_rebuilt_from_the_ledger_suggests_what_the_live_one_did(case: str) -> None:
    made = Experiment.model_validate_json(spec(case).model_dump_json())
    records = play(spec(case), curve, slots=3, faults=0.08).records
    found = [record for record in records if isinstance(record, Suggested)]
    assert len(found) == CASES[case][1]
    for record in found:
        searcher = StudySearcher(made, KINDS[made.search.kind][0])
        for seen in records[: record.seen]:
            searcher.observe(seen)
        assert lines([replace(record, **asdict(searcher.suggest(record.number)))]) == lines([record])
    assert [record.params for record in found[:3]] == [trial.params for trial in made.start.learned[:3]]
    assert found[3].params["lr"] == 0.01, "then what is believed"


@pytest.mark.parametrize("epochs", [4, 9, 10])
def test_an_earlier_trial_is_whole_if_it_had_as_many_epochs_as_one_of_this_run_and_its_values_stand(
    epochs: int,
) -> None:
    start = {"runs": ["A"], "learned": [trial for trial in learned(PLAIN) if max(trial["epochs"]) <= epochs]}
    made = spec("tpe", start=start, budget={"trials": 9, "epochs": epochs}, scheduler={"kind": "none"})
    study = StudySearcher(made, KINDS["tpe"][0]).study.get_trials()
    assert len(study) == len(made.start.learned)
    for told, trial in zip(study, made.start.learned, strict=True):
        whole = epochs == 9 and trial.epochs[-1] == 9
        assert told.state == (TrialState.COMPLETE if whole else TrialState.PRUNED)
        assert told.params == trial.params and told.value == (max(trial.values) if whole else None)
        assert told.intermediate_values == (
            {} if trial.diverged else dict(zip(trial.epochs, trial.values, strict=True))
        )


def test_values_that_are_not_comparable_are_not_learned_from() -> None:
    start = {"runs": ["A"], "learned": learned(PLAIN, comparable=False)}
    made = spec("tpe", start=start)
    assert not StudySearcher(made, KINDS["tpe"][0]).study.get_trials()
    records = play(made, curve).records
    found = [record.params for record in records if isinstance(record, Suggested)]
    assert found[:3] == [trial["params"] for trial in learned(PLAIN)[:3]]


def test_what_was_learned_lets_tpe_begin_where_the_earlier_run_stood() -> None:
    drawn = [sample(experiment(space=PLAIN).space, 0, "earlier", number) for number in range(60)]
    known = [
        {"run": "A", "trial": trial_id(number), "params": params, "epochs": [1], "values": [smooth(params, 1)],
         "last_epoch": 1, "comparable": True}
        for number, params in enumerate(drawn)
    ]  # fmt: skip
    warm = [best("tpe", seed, 10, start={"runs": ["A"], "learned": known}) for seed in range(4)]
    assert statistics.median(warm) < statistics.median(best("tpe", seed, 10) for seed in range(4)) / 2
