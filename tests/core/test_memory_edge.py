"""Good configurations beside the edge of a GPU's memory: how many trials run out of it, and how good the best is."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
import pytest

from tuner.audit import audit
from tuner.core.events import Due, Failed, Free, Measured
from tuner.core.records import Ended, Given, Lost, Session
from tuner.core.search.kinds import make_asker
from tuner.core.trial import TrialState

from .experiments import Hand, experiment, rebuilt

pytestmark = pytest.mark.slow
CARD = 8 * 2**30
TRIALS = 60
SPACE: dict[str, Any] = {
    "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
    "width": {"dist": "choice", "values": [64, 128, 256, 512, 1024]},
    "batch": {"dist": "int", "low": 16, "high": 512, "log": True},
    "depth": {"dist": "int", "low": 1, "high": 8},
}


def memory(params: Mapping[str, Any], parts: int = 1) -> int:
    """Weights, and activations that grow with the batch: a quarter of the space does not fit."""
    width, batch, depth = params["width"] / 512, params["batch"] / 128, params["depth"] / 4
    return int((2 * width**2 * depth + 4 * width * batch * depth / parts) * 2**30)


def value(params: Mapping[str, Any]) -> float:
    """The larger the better, so that the best lie at the edge; and a learning rate of 0.01."""
    size = math.log2(params["width"] / 64) / 8 + 0.06 * math.log2(params["batch"] / 16) + (params["depth"] - 1) / 35
    return size - 0.15 * abs(math.log10(params["lr"]) + 2)


@dataclass(frozen=True)
class Found:
    """How a search of sixty trials went."""

    out_of_memory: int
    best: float


def plain(seed: int) -> Found:
    """Search as Ray Tune with OptunaSearch does: to Optuna a trial that ran out of memory has failed, no more."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for _ in range(TRIALS):
        trial = study.ask()
        params = {
            "lr": trial.suggest_float("lr", 1e-4, 1.0, log=True),
            "width": trial.suggest_categorical("width", [64, 128, 256, 512, 1024]),
            "batch": trial.suggest_int("batch", 16, 512, log=True),
            "depth": trial.suggest_int("depth", 1, 8),
        }
        if memory(params) > CARD:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value(params))
    failed = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.FAIL])
    return Found(len(failed), study.best_value)


def after_a_search() -> Hand:
    """Copy a run that has searched."""
    return copy.deepcopy(ours(0)[1])


@functools.cache
def ours(seed: int) -> tuple[Found, Hand]:
    """Search with the core, one trial after the other; what it gives must stay as it is."""
    run = Hand(
        experiment(
            space=SPACE,
            resources={"gpus": "auto"},
            budget={"trials": TRIALS, "epochs": 1},
            search={"kind": "tpe"},
            seed=seed,
        )
    )
    run.take(Session(attempt=2, host="h", pid=1, slots=1, versions={}, card=CARD))
    out, best = 0, -math.inf
    while (record := run.do(Free())) is not None:
        trial = run.trial(record.trial)  # type: ignore[attr-defined]
        if isinstance(run.do(Due(trial=trial.id)), Ended):
            continue
        run.take(Given(trial=trial.id, cpus=1, gpus=1.0, memory=CARD))
        out += train(run, trial)
        best = max([best, *(report.metrics["score"] for report in trial.reports)])
    return Found(out, best), run


def train(run: Hand, trial: TrialState) -> bool:
    """Train a trial; tell whether it ended since it ran out of memory."""
    while memory(trial.params, trial.parts) > CARD:
        failed = Failed(trial=trial.id, outcome="infeasible", reason="out of memory", splits=True, on_gpu=True)
        if isinstance(run.do(failed), Ended):
            return True
    report = run.reported(trial.id, 1, value(trial.params))
    run.do(replace(report, gpu_memory=memory(trial.params, trial.parts)))
    return False


def test_a_quarter_of_the_trials_that_run_out_of_memory_and_a_better_best() -> None:
    seeds = range(6)
    peers, mine = [plain(seed) for seed in seeds], [ours(seed)[0] for seed in seeds]
    out = [sum(found.out_of_memory for found in all_of_them) for all_of_them in (mine, peers)]
    assert out[0] <= out[1] / 4, out
    assert sum(found.best for found in mine) > sum(found.best for found in peers)


def test_what_is_foreseen_is_in_the_ledger_and_decided_again_as_it_was() -> None:
    run = after_a_search()
    ends = [record for record in run.records if isinstance(record, Ended)]
    foreseen = [record for record in ends if record.reason.startswith("would need")]
    assert foreseen
    assert all(run.trial(record.trial).given is None for record in foreseen), "they never began"
    assert {"foresight", "memory"} == {record.cause for record in run.records if record.kind == "lost"}  # type: ignore[attr-defined]
    found = audit(run.records, {}, make_asker)
    assert found.difference == ""
    again = rebuilt(run.spec, run.records)
    assert again.run.gpus.sizes.cells == run.core.run.gpus.sizes.cells


def without_parts() -> tuple[Hand, str]:
    """A run that has measured whole batches alone, and a trial whose whole batches do not fit, and half of them may."""
    run = after_a_search()
    gpus = run.core.run.gpus
    gpus.knows_parts, gpus.in_vain = False, 0
    gpus.sizes.cells = {place: cell for place, cell in gpus.sizes.cells.items() if cell.peak and place[0] == ("", -1)}
    (name,) = run.start(1, lr=0.01, width=512, batch=256, depth=5)
    assert 1 < memory(run.trial(name).params) / CARD < 2
    return run, name


def test_what_may_fit_in_parts_is_tried_until_it_is_known_whether_batches_can_be_split() -> None:
    run, a = without_parts()
    run.core.run.gpus.splits = False
    assert run.core.decide(Due(trial=a)) is None, "only trying tells"
    (b,) = run.start(1, lr=0.01, width=1024, batch=512, depth=8)
    assert isinstance(run.core.decide(Due(trial=b)), Ended), "half of it would be too much"


def test_trials_whose_share_is_given_are_left_alone() -> None:
    entries = [{"when": {"width": 1024}, "gpus": 2, "ranks": 1}, {"gpus": "auto"}]
    run = after_a_search()
    run.core.spec = run.core.run.spec = run.spec.model_copy(
        update={"resources": experiment(resources=entries, space=SPACE).resources}
    )
    (a,) = run.start(1, lr=0.01, width=1024, batch=512, depth=8)
    assert run.core.decide(Due(trial=a)) is None, "two GPUs may hold it"
    (b,) = run.start(1, lr=0.01, width=512, batch=512, depth=8)
    assert run.core.decide(Due(trial=b)) is not None


def test_two_parts_are_tried_until_it_is_known_what_they_save() -> None:
    run, a = without_parts()
    record = run.core.decide(Due(trial=a))
    assert isinstance(record, Lost)
    assert (record.cause, record.parts) == ("foresight", 2)
    run.core.run.gpus.sizes.ran_out({"width": 512, "batch": 250, "depth": 5}, 2, CARD)
    assert isinstance(run.core.decide(Due(trial=a)), Ended), "a smaller one ran out in two parts"


def test_a_clone_is_measured_anew_and_a_population_takes_turns() -> None:
    pbt = {"kind": "pbt", "interval_epochs": 1, "quantile": 0.5}
    space = {"lr": SPACE["lr"]}
    run = Hand(experiment(space=space, scheduler=pbt, resources={"gpus": "auto"}, budget={"trials": 2, "epochs": 9}))
    a, b = run.start(2, lr=0.01)
    for name in (a, b):
        run.do(Measured(trial=name, gpu_memory=2**30, step=0.1))
        assert run.trial(name).probed == 1
    assert run.report(a, 1, 0.9).action == "pause", "how many have a place at once is not known"
    decision = run.report(b, 1, 0.1)
    assert (decision.action, decision.clone is not None) == ("pause", True)
    assert run.trial(b).probed == 0, "its params are others now"


def test_after_three_that_ran_out_in_parts_too_parts_are_not_believed_to_help() -> None:
    run, a = without_parts()
    run.core.run.gpus.in_vain = 2
    assert isinstance(run.core.decide(Due(trial=a)), Lost)
    run.core.run.gpus.in_vain = 3
    assert isinstance(run.core.decide(Due(trial=a)), Ended)
