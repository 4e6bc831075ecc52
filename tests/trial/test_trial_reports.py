"""What a trial may report: metrics, epochs that go up, and which of its reports are saved."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tuner import Trial
from tuner.errors import UserError

from .study import Function, Heard, assignment, goes_on, run


def once(tmp_path: Path, *args: Any, **more: Any) -> Heard:
    return run(lambda trial: trial.report(*args, **more), assignment(tmp_path))


@pytest.mark.parametrize(
    ("args", "more"),
    [
        (({"loss": 0.5},), {}),
        ((), {"loss": 0.5}),
        (({"loss": 9},), {"loss": 0.5}),
        ((), {"loss": np.float32(0.5)}),
        ((), {"loss": np.array(0.5)}),
        ((), {"loss": torch.tensor([0.5], requires_grad=True)}),
        ((), {"loss": torch.tensor(0.5, dtype=torch.bfloat16)}),
        ((), {"loss": Decimal("0.5")}),
    ],
)
def test_metrics_are_a_mapping_or_keywords_of_any_numbers(tmp_path: Path, args: Any, more: Any) -> None:
    heard = once(tmp_path, *args, **more)
    assert heard.metrics == [{"loss": 0.5}]
    assert type(heard.metrics[0]["loss"]) is float


def test_all_metrics_are_kept_whatever_their_names(tmp_path: Path) -> None:
    heard = once(tmp_path, {"val/loss": 1, "größe": 2, 3: 4}, loss=True, epochs=math.inf)
    assert heard.metrics == [{"val/loss": 1.0, "größe": 2.0, "3": 4.0, "loss": 1.0, "epochs": math.inf}]


@pytest.mark.parametrize(
    "value",
    ["0.5", "nan", b"1", bytearray(b"1"), None, [1.0], [], {}, 1j, torch.ones(2), np.ones(3), 10**400, object()],
    ids=lambda value: repr(value).split(" at ")[0],
)
def test_what_is_no_number_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match=r"^trial\.report: other must be one number, but got "):
        once(tmp_path, loss=1, other=value)


@pytest.mark.parametrize("value", [0.5, [1], "loss", torch.ones(())], ids=repr)
def test_what_is_no_mapping_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match="must get a mapping or keywords, but got "):
        once(tmp_path, value)


def test_a_long_value_is_shown_in_part(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        once(tmp_path, loss="x" * 10_000)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(("metrics", "got"), [({"acc": 1, "f1": 2}, "'acc', 'f1'"), ({}, "nothing")])
def test_a_report_without_the_objective_names_what_there_was(tmp_path: Path, metrics: Any, got: str) -> None:
    with pytest.raises(UserError, match=f"must hold the objective 'loss', but got {got}. Report 'loss'"):
        once(tmp_path, metrics)


def reporting(*epochs: int | None, loop: bool = True) -> Function:
    """Report so often in the first epoch, or without a loop."""

    def train(trial: Trial) -> None:
        for _ in trial.epochs() if loop else [0]:
            for epoch in epochs:
                trial.report(loss=1, epoch=epoch)

    return train


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"loss": 1.0}, "must hold the objective 'size', but got 'loss'. Report 'size', or name one of these"),
        (
            {"loss": 1.0, "size": 2.0},
            "must hold 'latency', which has a constraint, but got 'loss', 'size'. "
            "Report 'latency', or remove constraints.latency.",
        ),
    ],
)
def test_a_report_holds_every_objective_and_what_has_a_limit(
    tmp_path: Path, metrics: dict[str, float], said: str
) -> None:
    given = assignment(tmp_path, objectives=("size",), constrained=("latency",))
    with pytest.raises(UserError, match=re.escape(said)):
        run(lambda trial: trial.report(metrics), given)
    heard = run(lambda trial: trial.report(loss=1.0, size=math.inf, latency=3.0), given)
    assert heard.checkpoints == [None], "one objective that is not finite is enough: nobody goes on from there"


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (reporting(None, None), "epoch 1 after epoch 1"),
        (reporting(2, None, loop=False), None),
        (reporting(2, 2, loop=False), "epoch 2 after epoch 2"),
        (reporting(3, 2, loop=False), "epoch 2 after epoch 3"),
        (reporting(0, loop=False), "epoch 0 after epoch 0"),
        (reporting(-1, loop=False), "epoch -1 after epoch 0"),
        (reporting(4), "epoch 4 after epoch 4"),
    ],
)
def test_epochs_go_up(tmp_path: Path, function: Function, what: str | None) -> None:
    if what is None:
        run(function, assignment(tmp_path))
        return
    with pytest.raises(UserError, match=f"epochs must go up, but got {what}"):
        run(function, assignment(tmp_path))


@pytest.mark.parametrize("epoch", [1.0, "1", [1], None])
def test_an_epoch_is_a_whole_number(tmp_path: Path, epoch: Any) -> None:
    if epoch is None:
        assert once(tmp_path, loss=1, epoch=epoch).epochs == [1]
        return
    with pytest.raises(UserError, match="epoch must be a whole number, but got"):
        once(tmp_path, loss=1, epoch=epoch)


@pytest.mark.parametrize("epoch", [np.int64(3), torch.tensor(3)])
def test_an_epoch_may_come_from_numpy_and_torch(tmp_path: Path, epoch: Any) -> None:
    assert [(e, type(e)) for e in once(tmp_path, loss=1, epoch=epoch).epochs] == [(3, int)]


def test_epochs_may_be_skipped(tmp_path: Path) -> None:
    def every_second(trial: Trial) -> None:
        for epoch in trial.epochs():
            if epoch % 2 == 0:
                trial.report(loss=1)

    given = assignment(tmp_path, epochs=6)
    assert run(every_second, given).epochs == [2, 4, 6]
    assert run(reporting(2, 5, None, loop=False), given).epochs == [2, 5, 6]


def test_without_the_loop_reports_are_counted(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.track(net=nn.Linear(1, 1))
        for _ in range(3):
            trial.report(loss=1)

    given = assignment(tmp_path, epochs=6)
    heard = run(train, given, 2)
    assert heard.epochs == [1, 2]
    assert run(train, goes_on(given, heard)).epochs == [3, 4, 5]


@pytest.mark.parametrize(
    ("every", "at", "saved"), [(1, (), [1, 2, 3, 4, 5]), (2, (), [2, 4, 5]), (9, (), [5]), (9, (1, 3), [1, 3, 5])]
)
def test_which_epochs_are_saved(tmp_path: Path, every: int, at: tuple[int, ...], saved: list[int]) -> None:
    given = assignment(tmp_path, epochs=5, save_every=every, save_at=frozenset(at))
    assert [epoch for epoch in range(1, 6) if given.saves(epoch - 1, epoch)] == saved
    assert given.saves(5, 6)  # a plain function that trains longer

    def train(trial: Trial) -> None:
        trial.track(net=nn.Linear(1, 1))
        for _ in trial.epochs():
            trial.report(loss=1)

    heard = run(train, given)
    assert [epoch for epoch, path in zip(heard.epochs, heard.checkpoints, strict=True) if path] == saved


@pytest.mark.parametrize(
    ("every", "at", "saved"), [(2, (), [3, 5, 6, 8]), (4, (), [5, 8]), (9, (2, 7), [3, 8]), (9, (5,), [5, 8])]
)
def test_a_report_that_passes_an_epoch_to_be_saved_is_saved(
    tmp_path: Path, every: int, at: tuple[int, ...], saved: list[int]
) -> None:
    def train(trial: Trial) -> None:
        trial.track(net=nn.Linear(1, 1))
        for epoch in (1, 3, 5, 6, 8):
            trial.report(loss=1, epoch=epoch)

    heard = run(train, assignment(tmp_path, epochs=8, save_every=every, save_at=frozenset(at)))
    assert [epoch for epoch, path in zip(heard.epochs, heard.checkpoints, strict=True) if path] == saved


def test_a_function_that_tracks_nothing_begins_anew(tmp_path: Path) -> None:
    heard = run(reporting(None), assignment(tmp_path), 2)
    assert heard.checkpoints == [None, None]
