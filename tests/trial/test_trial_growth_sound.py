"""Loops that do as they should, although their memory grows for a time: not a word about them."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
import torch

from tuner import Trial

from .growing import (  # noqa: F401
    WIDE,
    Net,
    batches,
    counts_what_is_made_from_here_on,
    noted,
    sees_growth_beside_what_other_tests_hold,
)

pytestmark = pytest.mark.slow


def test_what_is_kept_for_one_pass_through_the_data_is_not_worth_a_word(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for _ in trial.epochs():
            outs = [x + 1 for x in trial.batches(batches(40))]
            trial.report(loss=float(torch.cat(outs).mean()))
            del outs

    assert noted(tmp_path, train) == ""


def test_what_is_kept_until_the_next_pass_is_over_is_not_worth_a_word(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for _ in trial.epochs():
            outs = [x + 1 for x in trial.batches(batches(40))]  # the last epoch's until this one's are there
            trial.report(loss=len(outs))

    assert noted(tmp_path, train) == ""


def test_data_that_are_decoded_into_memory_by_and_by_are_not_worth_a_word(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        kept: dict[int, torch.Tensor] = {}
        loader = [(lambda i=i: kept.setdefault(i, torch.ones(2, WIDE))) for i in range(40)]
        for _ in trial.epochs():
            for decode in trial.batches(loader):
                decode()
            trial.report(loss=1)
        assert len(kept) == 40

    assert noted(tmp_path, train) == ""


@pytest.mark.parametrize("together", [4, 64])
def test_losses_that_are_summed_before_one_backward_are_not_worth_a_word(tmp_path: Path, together: int) -> None:
    def train(trial: Trial) -> None:
        model = Net()
        steps = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in trial.epochs():
            total = 0.0
            for i, x in enumerate(trial.batches(batches(128)), 1):
                total += model(x).mean() / together
                if i % together == 0:
                    steps.zero_grad()
                    total.backward()
                    steps.step()
                    total = 0.0
            trial.report(loss=1)

    assert noted(tmp_path, train, epochs=2) == ""


def test_what_an_episode_gathers_for_a_step_at_its_end_is_not_worth_a_word(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        actor, critic = Net(), torch.nn.Linear(1, 1)
        steps = [torch.optim.SGD(one.parameters(), lr=0.1) for one in (actor, critic)]
        for _ in trial.epochs():
            logs = []
            for x in trial.batches(batches(60)):
                logs.append(actor(x).mean())
                critic(x[:, :1]).mean().backward()
                steps[1].step()  # one model is trained all the time
            torch.stack(logs).mean().backward()
            steps[0].step()
            trial.report(loss=1)

    assert noted(tmp_path, train, epochs=4) == ""


def test_a_buffer_that_fills_up_is_not_worth_a_word(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        buffer = deque(maxlen=200)
        for _ in trial.epochs():
            for x in trial.batches(batches(20)):
                buffer.append(x[0] * 1)
            trial.report(loss=1)

    assert noted(tmp_path, train, epochs=9) == ""


def test_batches_that_grow_from_pass_to_pass_are_not_worth_a_word(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for epoch in trial.epochs():
            for i in trial.batches(range(20 * epoch - 20, 20 * epoch)):
                x = torch.ones(i + 1, 2 * WIDE)
            trial.report(loss=float(x[0, 0]))

    assert noted(tmp_path, train, epochs=4) == ""
