"""Memory that grows from batch to batch: seen, and told why, with what to do about it; or else not a word."""

from __future__ import annotations

import inspect
import re
import sys
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from trainables import resnet
from tuner import Trial
from tuner.trial import causes, growth, variables
from tuner.trial.growth import MIB

from .growing import (  # noqa: F401
    WIDE,
    Net,
    Train,
    batches,
    counts_what_is_made_from_here_on,
    noted,
    sees_growth_beside_what_other_tests_hold,
    told,
)
from .study import assignment, run

pytestmark = pytest.mark.slow

Mistake = Callable[[bool], Train]


def step(loss: torch.Tensor, steps: torch.optim.Optimizer) -> None:
    """Train on a loss, and leave its graph whole, as double backward does."""
    steps.zero_grad()
    loss.backward(retain_graph=True)
    steps.step()


def losses_in_a_list(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        model, losses = Net(), []
        for _ in trial.epochs():
            for x in trial.batches(batches(20)):
                loss = model(x).mean()
                losses.append(loss.item() if mended else loss)  # for good, though nothing is stepped
            trial.report(loss=1)

    return train


def a_running_sum(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        model = Net()
        steps = torch.optim.AdamW(model.parameters(), fused=True)
        for _ in trial.epochs():
            total = 0.0
            for x in trial.batches(batches(40)):
                loss = model(x).mean()
                step(loss, steps)
                total += loss.detach() if mended else loss
            trial.report(loss=total)

    return train


def outputs_with_graphs(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        model = Net()
        steps = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in trial.epochs():
            outs = deque()
            for x in trial.batches(batches(40)):
                out = model(x)
                step(out.mean(), steps)
                outs.append((out.detach() if mended else out, "more"))
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


def outputs_of_many_lengths(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        outs = []
        for epoch in trial.epochs():
            for i in trial.batches(range(20)):
                out = torch.ones(2 * WIDE + 20 * epoch + i)
                outs.append(out.mean() if mended else out)
            trial.report(loss=1)

    return train


def graphs_of_many_lengths(mended: bool) -> Train:
    def train(trial: Trial) -> None:
        model = Net()
        steps = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in trial.epochs():
            outs = []
            for i in trial.batches(range(40)):
                out = torch.ones(2 * WIDE + 40 * epoch + i) * model.scale
                step(out.mean(), steps)
                outs.append(out.detach().mean() if mended else out)
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
                step(loss, steps)
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
        (outputs_of_many_lengths, "outs.append(", "the list `outs` (HERE) of "),
        (graphs_of_many_lengths, "outs.append(", "an output is kept with its graph, in `outs` (HERE): "
                                                 "keep output.detach(), not output"),
        (validation, "", "validation builds graphs: wrap it in torch.no_grad() or torch.inference_mode()"),
        (training_in_eval_mode, "kept.append(", "a loss is kept with its graph, in `kept` (HERE): "),
    ],
)  # fmt: skip
def test_a_mistake_is_named_and_its_mended_twin_is_not(tmp_path: Path, mistake: Mistake, line: str, said: str) -> None:
    text, epochs = told(tmp_path, mistake(False))
    assert text.startswith("the machine's memory that this trial holds grows by ")
    source, first = inspect.getsourcelines(mistake)
    number = first + next(i for i, code in enumerate(source) if line in code)
    assert f" MiB a batch: most likely {said.replace('HERE', f'test_trial_growth.py:{number}')}" in text
    assert noted(tmp_path, mistake(True), epochs + 1) == ""


def test_a_note_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []

    def train(trial: Trial) -> None:
        trial.growth.tell = said.append
        outputs_in_an_object(False)(trial)

    run(train, assignment(tmp_path, epochs=9))
    assert len(said) == 1


def test_tensors_without_a_graph_are_told_by_number_shape_and_place(tmp_path: Path) -> None:
    text = noted(tmp_path, outputs_in_an_object(False))
    assert re.search(rf"of \d\d tensors of shape 2x{WIDE} in the machine's memory grows: reduce them, or write", text)


def test_what_is_no_tensor_is_told_without_a_cause(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        kept = []
        for _ in trial.epochs():
            for _ in trial.batches(batches(10)):
                kept.append(b"x" * 8 * WIDE)
            trial.report(loss=len(kept))

    assert noted(tmp_path, train, epochs=causes.MANY // 2) == "", "a heap with holes looks so"
    assert noted(tmp_path, train, epochs=3 * causes.MANY).endswith(" MiB a batch; what is kept could not be told")


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
    causes.count(variables.frames_below(sys._getframe()))
    del x
    assert gone() is None


def test_tensors_of_no_certain_size_are_passed_over() -> None:
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    fake = FakeTensorMode(shape_env=ShapeEnv()).from_tensor(torch.ones(5, 7))  # as torch.export leaves them
    assert not isinstance(fake.shape[0], int)
    assert causes.count(variables.frames_below(sys._getframe())).kinds


def test_a_users_own_view_of_the_variables_stays_as_it_is() -> None:
    mine = locals()
    kept = mine["kept"] = torch.ones(3)
    causes.count(variables.frames_below(sys._getframe()))
    assert mine["kept"] is kept
