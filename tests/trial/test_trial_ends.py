"""The test of the best, and a trial in the user's own process."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from tuner import Trial
from tuner.errors import UserError
from tuner.trial.channel import Tested
from tuner.trial.local import LocalTrial

from .study import Function, Heard, assignment, run


def measured(tmp_path: Path, function: Function, **more: Any) -> dict[str, float]:
    with pytest.raises(Tested) as left:
        run(function, assignment(tmp_path, task="test", **more))
    return left.value.metrics


def test_the_test_is_called_once_with_everything_restored(tmp_path: Path) -> None:
    calls = []

    def train(trial: Trial) -> None:
        net = nn.Linear(1, 1)
        trial.track(net=net)
        nn.init.zeros_(net.weight)  # what the function does to it after `track` does not count
        trial.test(lambda: calls.append(1) or {"weight": net.weight, "calls": len(calls)})
        try:
            for _ in trial.epochs():
                nn.init.constant_(net.weight, 5.0)
                trial.report(loss=1)
        except Exception:
            pytest.fail("the way out must not be an Exception")

    given = assignment(tmp_path)
    heard = run(train, given, 1)
    assert not calls
    checkpoint = {"checkpoint": heard.checkpoints[0], "epoch": 1}
    assert measured(tmp_path, train, **checkpoint) == {"weight": 5.0, "calls": 1}


def test_the_test_of_a_function_without_the_loop(tmp_path: Path) -> None:
    def train(trial: Trial, reports: bool) -> None:
        net = nn.Linear(1, 1)
        trial.track(net=net)
        trial.test(lambda: {"weight": net.weight})
        nn.init.constant_(net.weight, 5.0)
        if reports:
            trial.report(loss=1)

    heard = run(train, assignment(tmp_path, params={"reports": True}))
    at = {"checkpoint": heard.checkpoints[0], "epoch": 1}
    assert measured(tmp_path, train, params={"reports": True}, **at) == {"weight": 5.0}
    trial = Trial(assignment(tmp_path, task="test", **at), Heard())
    train(trial, reports=False)
    assert trial.tested(None) == {"weight": 5.0}


def test_the_test_by_a_function_of_its_own(tmp_path: Path) -> None:
    trial = Trial(assignment(tmp_path, task="test"), Heard())
    assert trial.tested({"acc": np.float64(0.5)}) == {"acc": 0.5}
    assert trial.tested(None) == {}
    with pytest.raises(UserError, match=r"trial\.test: must get a mapping"):
        trial.tested(0.5)


def test_a_local_trial_runs_here_and_prints(tmp_path: Path) -> None:
    said: list[str] = []

    def train(trial: Trial) -> None:
        trial.track(net=nn.Linear(1, 1))
        for _ in trial.epochs():
            trial.report(loss=random.random())

    given = assignment(tmp_path, epochs=2)
    random.seed(99)
    train(LocalTrial(given, said.append))
    expected = run(train, given).metrics
    assert [line.rpartition("  (")[0] for line in said] == [
        f"epoch {epoch}  loss {metrics['loss']:.6g}" for epoch, metrics in enumerate(expected, 1)
    ]
