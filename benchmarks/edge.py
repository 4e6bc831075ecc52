"""A model whose best sizes lie beside the edge of a GPU's memory: real tensors, a value that is only computed."""

from __future__ import annotations

import math

import torch
from torch import nn

from tuner import Trial

STEPS = 3


def train(trial: Trial, *, lr: float, width: int = 64, batch: int = 64, depth: int = 2) -> None:
    """Train some steps; report a score that grows with width, depth and batch, and is best at a lr of 0.01."""
    model = layers(width, depth)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    trial.track(model=model, optimizer=optimizer)
    loader = torch.utils.data.DataLoader(torch.ones(STEPS * batch, 32), batch_size=batch)
    for _ in trial.epochs():
        for inputs in trial.batches(loader):
            step(model, optimizer, inputs)
        trial.report(score=score(lr, width, batch, depth))


def layers(width: int, depth: int) -> nn.Module:
    """Make a model of so many layers."""
    inner = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(32, width), nn.ReLU(), *inner, nn.Linear(width, 1))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor) -> None:
    """Train one step."""
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


def score(lr: float, width: int, batch: int, depth: int) -> float:
    """Tell how good a configuration is."""
    size = math.log2(width / 32) / 8 + 0.06 * math.log2(batch / 16) + (depth - 1) / 35
    return size - 0.15 * abs(math.log10(lr) + 2)
