"""What a user has before any tuning, the same for all: digits, a small network, one epoch of training.

Each epoch leaves a line in the file that COMPARE_OUT names. How many epochs a network has trained is a buffer of its
own, which every checkpoint holds: so a line tells what was really trained, whatever its contender believes.
COMPARE_MEMORY, in KiB, is the memory of a GPU that is simulated (tuner/trial/simulated.py). With COMPARE_NAIVE the loss
is the logarithm of a softmax, taken in two steps: where a rate is too high that is the logarithm of zero, then NaN.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.set_num_threads(1)
IMAGES, LABELS = load_digits(return_X_y=True)
DATA = TensorDataset(torch.tensor(IMAGES, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(LABELS))
TRAIN, VALID = random_split(DATA, [0.8, 0.2], torch.Generator().manual_seed(0))


def network(width: int) -> nn.Module:
    """Make a network of two convolutions."""
    inner = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*inner, nn.Flatten(), nn.Linear(64 * width, 10))
    model.register_buffer("epochs", torch.zeros(()))
    return model


def loader() -> Iterable[tuple[Tensor, Tensor]]:
    """Make the loader of an epoch's batches."""
    return DataLoader(TRAIN, 32, shuffle=True)


def run_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Train for one epoch; gives the loss on the validation set."""
    with memory():
        for images, labels in batches:
            loss = loss_of(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.epochs += 1  # type: ignore[operator]
    with torch.inference_mode():
        images, labels = VALID[:]
        value = loss_of(model(images), labels).item()
    note(model, optimizer, value)
    return value


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross entropy, or what is only the same on paper."""
    if "COMPARE_NAIVE" in os.environ:
        return nn.functional.nll_loss(logits.softmax(1).log(), labels)
    return nn.functional.cross_entropy(logits, labels)


def memory() -> AbstractContextManager[None]:
    """Count tensors against the memory of a simulated GPU, if there is one."""
    if "COMPARE_MEMORY" not in os.environ:
        return contextlib.nullcontext()
    from tuner.trial.simulated import SimulatedGpu

    return SimulatedGpu(int(os.environ["COMPARE_MEMORY"]) * 1024).held()


def note(model: nn.Module, optimizer: torch.optim.Optimizer, value: float) -> None:
    """Append the epoch's line; one write, so that two processes do not mix."""
    group = optimizer.param_groups[0]
    config = configuration(group["lr"], group["momentum"], model[0].out_channels)  # type: ignore[index, union-attr]
    line = {"time": time.time(), "pid": os.getpid(), "config": config, "epoch": int(model.epochs), "value": value}  # type: ignore[arg-type]
    descriptor = os.open(os.environ.get("COMPARE_OUT", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    finally:
        os.close(descriptor)


def configuration(lr: float, momentum: float, width: int) -> str:
    """Name a configuration, whoever chose it."""
    return f"lr {lr:.6g}, momentum {momentum:.6g}, width {width}"
