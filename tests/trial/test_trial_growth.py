"""Memory that grows from batch to batch: seen, and told why, with what to do about it; or else not a word."""

from __future__ import annotations

import ctypes
import gc
import inspect
import re
import sys
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainables import resnet
from tuner import Trial
from tuner.trial import causes, growth
from tuner.trial.growth import MIB

from .study import assignment, run

Train = Callable[[Trial], None]
Mistake = Callable[[bool], Train]

M_MMAP_THRESHOLD = -3
WIDE = 512 * 1024
"""Numbers in a row, 2 MiB."""


@pytest.fixture(autouse=True)
def _sees_growth_beside_what_other_tests_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PART", 0.0)
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallopt(
        M_MMAP_THRESHOLD, MIB
    )  # else scalars come to lie in the holes of large tensors, and the heap does grow
    libc.malloc_trim(0)  # else what other tests gave back is used first, and nothing grows


def batches(count: int = 20) -> list[torch.Tensor]:
    return [torch.ones(2, WIDE)] * count


def noted(folder: Path, function: Train, **more: Any) -> str:
    """Run a function; returns what was said about its memory."""
    said: list[str] = []

    def train(trial: Trial) -> None:
        trial.growth.tell = said.append
        function(trial)
        assert said == ([trial.growth.note] if said else []), "once"

    run(train, assignment(folder, epochs=6, **more))
    return "".join(said)


class Net(nn.Module):
    """A model whose graph holds twice what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x * self.scale).sigmoid() * self.scale).mean(1)


def losses_in_a_list(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        model = Net()
        for _ in trial.epochs():
            losses = []
            for x in trial.batches(batches(40)):
                loss = model(x).mean()
                losses.append(loss.item() if mended else loss)
            trial.report(loss=float(sum(losses)))

    return train


def a_running_sum(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        model = Net()
        for _ in trial.epochs():
            total = 0.0
            for x in trial.batches(batches(40)):
                loss = model(x).mean()
                total += loss.detach() if mended else loss
            trial.report(loss=total)

    return train


def outputs_with_graphs(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        model = Net()
        for _ in trial.epochs():
            outs = deque()
            for x in trial.batches(batches(40)):
                outs.append((model(x).detach() if mended else model(x), "more"))
            trial.report(loss=len(outs))

    return train


class Meter:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, torch.Tensor]] = []


def outputs_in_an_object(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        meter = Meter()
        for epoch in trial.epochs():
            for x in trial.batches(batches()):
                with torch.no_grad():
                    out = x * 2
                meter.seen.append((epoch, out.mean() if mended else out))
            trial.report(loss=1)

    return train


def outputs_in_a_dictionary(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        history: dict[str, list[torch.Tensor]] = {"outs": []}
        for _ in trial.epochs():
            for x in trial.batches(batches()):
                history["outs"].append((x + 1).mean() if mended else x + 1)
            trial.report(loss=1)

    return train


def validation(mended: bool) -> Train:
    def validate(trial: Trial, model: nn.Module) -> float:
        model.eval()
        outs = []
        with torch.set_grad_enabled(not mended):
            for x in trial.batches(batches(40)):
                outs.append(model(x))
        return torch.cat(outs).mean().item()

    def train(trial: Trial) -> None:
        model = Net()
        steps = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in trial.epochs():
            model.train()
            for x in trial.batches(batches(3)):
                steps.zero_grad()
                model(x).mean().backward()
                steps.step()
            trial.report(loss=validate(trial, model))

    return train


def training_in_eval_mode(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        model = Net().eval()
        steps = torch.optim.SGD(model.parameters(), lr=0.1)
        kept = []
        for _ in trial.epochs():
            for x in trial.batches(batches()):
                loss = model(x).mean()
                loss.backward(retain_graph=not mended)
                steps.step()
                kept.append(loss.detach() if mended else loss)
            trial.report(loss=1)

    return train


@pytest.mark.parametrize(
    ("mistake", "line", "said"),
    [
        (losses_in_a_list, "losses.append(", "a loss is kept with its graph, in `losses` (HERE): "
                                             "add loss.item() or loss.detach(), not loss"),
        (a_running_sum, "total += ", "a loss is kept with its graph, in `total` (HERE): "
                                     "add loss.item() or loss.detach(), not loss"),
        (outputs_with_graphs, "outs.append(", "an output is kept with its graph, in `outs` (HERE): "
                                              "keep output.detach(), not output"),
        (outputs_in_an_object, "meter.seen.append(", "the list `meter.seen` (HERE) of "),
        (outputs_in_a_dictionary, 'history["outs"].append(', "the list `history['outs']` (HERE) of "),
        (validation, "", "validation builds graphs: wrap it in torch.no_grad() or torch.inference_mode()"),
        (training_in_eval_mode, "kept.append(", "a loss is kept with its graph, in `kept` (HERE): "),
    ],
)  # fmt: skip
def test_a_mistake_is_named_and_its_mended_twin_is_not(tmp_path: Path, mistake: Mistake, line: str, said: str) -> None:
    text = noted(tmp_path, mistake(False))
    assert text.startswith("the machine's memory that this trial holds grows by ")
    source, first = inspect.getsourcelines(mistake)
    number = first + next(i for i, code in enumerate(source) if line in code)
    assert f" MiB a batch: most likely {said.replace('HERE', f'test_trial_growth.py:{number}')}" in text
    assert noted(tmp_path, mistake(True)) == ""


def test_tensors_without_a_graph_are_told_by_number_shape_and_place(tmp_path: Path) -> None:
    text = noted(tmp_path, outputs_in_an_object(False))
    assert re.search(r"of \d\d tensors of shape 2x524288 in the machine's memory grows: reduce them, or write", text)


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


def test_what_is_no_tensor_is_told_without_a_cause(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        kept = []
        for _ in trial.epochs():
            for _ in trial.batches(batches(20)):
                kept.append(b"x" * 4 * MIB)
            trial.report(loss=len(kept))

    assert noted(tmp_path, train).endswith(" MiB a batch; what is kept could not be told")


@pytest.mark.parametrize("kept", [True, False])
def test_batches_in_parts_grow_only_where_something_is_kept(tmp_path: Path, kept: bool) -> None:
    def train(trial: Trial) -> None:
        model, losses = Net(), []
        steps = torch.optim.SGD(model.parameters(), lr=0.1)
        trial.track(model=model, steps=steps)
        for _ in trial.epochs():
            for x in trial.batches(batches(20)):
                assert len(x) == 1
                loss = model(x).mean()
                loss.backward(retain_graph=kept)
                steps.step()
                losses.append(loss if kept else loss.item())
            trial.report(loss=1)

    assert ("in `losses`" in noted(tmp_path, train, parts=2)) == kept


@pytest.mark.parametrize("parts", [1, 2])
def test_a_usual_trainable_hears_nothing(tmp_path: Path, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "LEAST", MIB)
    looked = []
    monkeypatch.setattr(growth.Series, "look", lambda self, look=growth.Series.look: looked.append(1) or look(self))
    params = {"lr": 0.1, "dataset": "digits", "width": 4}
    function = lambda trial: resnet.train(trial, **params)  # noqa: E731
    assert noted(tmp_path, function, parts=parts, params={}, metric="val_accuracy") == ""
    assert len(looked) > 4 * growth.LOOKS


def test_a_count_keeps_nothing_of_what_it_has_seen() -> None:
    x = torch.ones(3)
    gone = weakref.ref(x)
    causes.count(causes.frames_below(sys._getframe()))
    del x
    assert gone() is None


def test_a_users_own_view_of_the_variables_stays_as_it_is() -> None:
    mine = locals()
    kept = mine["kept"] = torch.ones(3)
    causes.count(causes.frames_below(sys._getframe()))
    assert mine["kept"] is kept
