"""What is trained: a small CNN, a ResNet-18 for 32 x 32 pixels, a small transformer; on made-up batches on the device.

No loader is in the way, so what is measured is the GPU and the launching of its kernels.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.gpus.crew import Line
from tuner.trial import Assignment
from tuner.trial.local import LocalTrial
from tuner.trial.meter import hold_to_share

CLASSES = 10
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Order:
    """What one process is to train, and for how long."""

    work: str
    device: str
    seconds: float
    share: float = 1.0
    """Of the GPU's memory."""
    precision: str = "fp32"


def member(line: Line, order: Order) -> int:
    """Warm up, meet the others, say how many steps were taken in the time, and go on until all have said so.

    Were the first to stop at once, the last would have the GPU to itself for its last steps.
    """
    step = prepare(order)
    some = 5 if order.device == "cuda" else 1
    for _ in range(2 * some):
        step()
    wait(order.device)
    line.say("ready")
    line.hear()
    began, steps, said = time.perf_counter(), 0, False
    while not (said and line.is_called()):
        for _ in range(some):
            step()
        wait(order.device)
        steps, seconds = steps + some, time.perf_counter() - began
        if not said and seconds >= order.seconds:
            line.say({"steps": steps, "seconds": seconds, "reserved": reserved(order.device)})
            said = True
    return steps


def prepare(order: Order) -> Callable[[], None]:
    """Make a model and its batch in this process, held to its share as a trial is; return one step."""
    torch.set_num_threads(1)
    hold_to_share(order.share)
    trial = trial_of(order.device, gpus=order.share, precision=order.precision)
    device = trial.device
    make, batch, count = WORKS[order.work]
    model, (inputs, targets) = make().to(device), batch(count if order.device == "cuda" else FEW)
    inputs, targets = inputs.to(device), targets.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        with trial.autocast():
            loss = functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def trial_of(device: str, *, gpus: float = 1.0, **more: Any) -> LocalTrial:
    """Make a real trial, which reports to nobody and so writes nothing."""
    facts: dict[str, Any] = {"trial": "t", "params": {}, "seed": 0, "metric": "loss", "epochs": 1, **more}
    facts["gpus"] = gpus if device == "cuda" else 0
    return LocalTrial(Assignment(run=tempfile.gettempdir(), **facts), lambda _: None)


def wait(device: str) -> None:
    """Wait until the device has done what was launched."""
    if device == "cuda":
        torch.cuda.synchronize()


def reserved(device: str) -> int:
    """Tell how many bytes torch's allocator holds, at the most so far."""
    return torch.cuda.max_memory_reserved() if device == "cuda" else 0


def small_cnn() -> nn.Module:
    """Two convolutions and a linear layer: so small that launching its kernels is most of a step."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, CLASSES),
    )  # fmt: skip


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.around: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.around = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve height and width if the stride is 2."""
        return functional.relu(self.body(x) + self.around(x))


def resnet18() -> nn.Module:
    """He et al. 2016 with the stem that is usual for 32 x 32 pixels; written here, for torch alone is at hand."""
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [Block(before, after, 2 if after > before else 1) for before, after in pairwise(widths)]
    stem = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


class Transformer(nn.Module):
    """Four layers of width 128 on 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, CLASSES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens to logits."""
        return self.head(self.layers(self.embed(tokens)).mean(1))


def pictures(count: int, channels: int, edge: int) -> Batch:
    """Make up so many pictures."""
    return torch.randn(count, channels, edge, edge), torch.randint(CLASSES, (count,))


def sentences(count: int) -> Batch:
    """Make up so many sentences of 64 tokens."""
    return torch.randint(1000, (count, 64)), torch.randint(CLASSES, (count,))


WORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Batch], int]] = {
    "small CNN": (small_cnn, lambda count: pictures(count, 1, 28), 64),
    "ResNet-18": (resnet18, lambda count: pictures(count, 3, 32), 128),
    "small transformer": (Transformer, sentences, 64),
}
"""Name → its model, its batches, and how many samples there are in one."""
FEW = 4
"""So many on a CPU, where nothing is measured but that it runs."""
