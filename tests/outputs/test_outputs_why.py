"""The story of a trial, as `--why` prints it."""

from __future__ import annotations

from pathlib import Path

import pytest
from core.experiments import Hand, curve, experiment, simulate
from rich.console import Console

from tuner.core.events import Elapsed, Free, Gone, Measured, StopAsked
from tuner.core.records import Asked, Given, Lost, Session, trial_id
from tuner.ledger import Ledger
from tuner.outputs.packing import Shared
from tuner.outputs.why import story, why

PROMOTE = {"kind": "asha", "promote": True, "reduction_factor": 2}


def told(run: Hand, trial: str) -> list[str]:
    """Join where and what of each line."""
    return [f"{where}: {what}" for where, what in story(run.records, trial)]


def test_a_trial_that_was_promoted_lost_and_stopped() -> None:
    run = Hand(experiment(scheduler=PROMOTE, budget={"trials": 4, "epochs": 4}))
    a, b = run.start(2, x=0.25)
    run.report(a, 1, 0.9)
    run.report(b, 1, 0.1)
    run.do(Free())
    run.do(Gone(trial=a, reason="its process died", cause="worker"))
    run.report(a, 2, 0.95)
    run.do(StopAsked(trial=b))
    assert told(run, a) == [
        "suggested: x=0.25; by random from 0 reports of 0 trials",
        "epoch 1: score 0.90000; rung 1: number 1 of 1, nothing to hold it against; is paused",
        "promoted: goes on after epoch 1",
        "lost: its process died (worker); queued again from its last checkpoint",
        "epoch 2: score 0.95000; rung 2: number 1 of 1, nothing to hold it against; is paused",
    ]
    assert told(run, b)[-1] == "asked: the user stopped the trial"
    assert told(run, b)[1] == "epoch 1: score 0.10000; rung 1: number 2 of 2, cutoff 0.90000; is paused"


def test_a_stop_by_the_cutoff_is_told_by_the_mark_and_one_by_the_quota_by_its_reason() -> None:
    run = Hand(experiment(scheduler={"kind": "asha", "reduction_factor": 3}, budget={"trials": 9, "epochs": 9}))
    *rising, second, last = run.start(8)
    for place, name in enumerate(rising):
        run.report(name, 1, 0.1 * place)
    run.report(second, 1, 0.45)
    run.report(last, 1, 0.0)
    assert told(run, second)[1] == (
        "epoch 1: score 0.45000; rung 1: number 2 of 7, cutoff 0.40000; stopped "
        "(score 0.45 at epoch 1 is number 2 of 7, not among the best 1/9, "
        "and 6 went on from there, as many as the best 1/3 are or more)"
    )
    assert told(run, last)[1] == "epoch 1: score 0.0000; rung 1: number 7 of 8, cutoff 0.40000; stopped"


def test_a_suggestion_is_told_to_be_random_until_enough_trials_have_ended() -> None:
    records = simulate(experiment(search={"kind": "tpe", "startup": 3}, budget={"trials": 9, "epochs": 2}), curve, 4)
    told = ["still at random" in dict(story(records, trial_id(number)))["suggested"] for number in range(9)]
    assert told == [True] * 7 + [False] * 2, "four begin at once, three have to end, and each is computed one ahead"


def test_quiet_epochs_are_drawn_together() -> None:
    run = Hand(experiment(scheduler={"kind": "none"}, budget={"trials": 1, "epochs": 5}))
    (a,) = run.start(1, x=0.5)
    for epoch in range(1, 6):
        run.report(a, epoch, epoch / 10)
    last = "epoch 5: score 0.50000; finished (epoch 5 is the last)"
    assert told(run, a)[1:] == ["epochs 1-4: score 0.10000 to 0.40000", last]


def test_long_numbers_of_epochs_do_not_run_into_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Hand(experiment(scheduler={"kind": "none"}, budget={"trials": 1, "epochs": 1002}))
    (a,) = run.start(1, x=0.5)
    for epoch in (1000, 1001, 1002):
        run.report(a, epoch, 0.5)
    with Ledger(tmp_path) as ledger:
        for record in run.records:
            ledger.append(record)
    why(tmp_path, a, Console(width=200))
    assert "  epochs 1000-1001 score 0.50000 to 0.50000\n" in capsys.readouterr().out


def test_what_came_before_a_trial_or_after_its_end_is_not_its_story() -> None:
    run = Hand(experiment(scheduler={"kind": "none"}, budget={"trials": 3, "epochs": 2, "hours": 1.0}))
    (a,) = run.start(1, x=0.5)
    run.report(a, 2, 0.5)
    run.take(Session(attempt=2, host="h", pid=1, slots=2, versions={}))
    (b,) = run.start(1, x=0.6)
    run.do(Elapsed(seconds=3600))
    assert told(run, a)[1:] == ["epoch 2: score 0.50000; finished (epoch 2 is the last)"]
    assert told(run, b)[1:] == [": budget.hours is reached after 1:00:00", "ended: stopped: budget.hours is reached"]
    run.take(Asked(budget={"hours": 2.0, "epochs": 4}))
    assert told(run, b)[3:] == ["asked: changed: budget.hours 2.0, budget.epochs 4", ": it is open again"]
    assert told(run, a)[2:] == ["asked: changed: budget.hours 2.0, budget.epochs 4", ": it waits to be promoted"]


def test_a_clone_names_its_donor() -> None:
    run = Hand(experiment(scheduler={"kind": "pbt", "quantile": 0.5}, budget={"trials": 2, "epochs": 4}))
    a, b = run.start(2, x=0.5)
    run.report(a, 1, 0.9)
    run.report(b, 1, 0.1)
    lines = told(run, b)
    assert any(line.startswith(f"cloned: goes on from {a} at epoch 1, with x=") for line in lines), lines


def test_what_a_trial_was_given_and_what_it_took() -> None:
    run = Hand(experiment(scheduler={"kind": "none"}, budget={"trials": 3, "epochs": 2}))
    (a,) = run.start(1, x=0.5)
    run.take(Given(trial=a, cpus=1, gpus=1.0, memory=8 * 2**30, probe=True))
    run.do(Measured(trial=a, gpu_memory=2**30, step=0.0125))
    run.take(Given(trial=a, cpus=1, gpus=0.25, memory=2 * 2**30))
    run.take(Lost(trial=a, reason="whole batches would not fit", cause="foresight", parts=2))
    run.take(Given(trial=a, cpus=2, gpus=2.0))
    assert told(run, a)[1:] == [
        "given: CPUs: 1, GPUs: 1 (8 GiB), for some steps that are measured",
        "measured: it took 1 GiB of the GPU, 12.5 ms a step",
        "given: CPUs: 1, GPUs: 0.25 (2 GiB)",
        "foreseen: whole batches would not fit",
        "given: CPUs: 2, GPUs: 2",
    ]


def test_how_many_share_a_gpu_is_said_when_it_changes() -> None:
    run = Hand(experiment(resources={"gpus": "auto"}))
    said: list[str] = []
    shared = Shared(said.append)
    for work in (1.0, 1.5, 1.52):
        level = run.core.run.gpus.packing.level
        for _ in range(2 * level):
            run.core.run.gpus.packing.heard(level, 1.0, level / work)
            shared.see(run.records[-1], run.core.run)
    assert said == [
        "work of a GPU, one trial alone taken as 1: 1 trial 1.00; up to 2 may share one where memory allows",
        "work of a GPU, one trial alone taken as 1: 1 trial 1.00, 2 trials 1.50; up to 4 may share one where memory "
        "allows",
        "work of a GPU, one trial alone taken as 1: 1 trial 1.00, 2 trials 1.50, 4 trials 1.52; 2 share one, no more",
    ]
