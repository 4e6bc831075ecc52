"""The model of edge.py as large as a real GPU: what 4 MiB were there, the whole card is here.

Memory grows with the params as there, but work hardly does: the layers multiply by one number of a huge weight.
"""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.edge import STEPS, score
from tuner import Trial

UNIT = 4 * 2**20


def scale(device: torch.device) -> int:
    """Say how many times 4 MiB the GPU has; once where it is one of 4 MiB that is simulated."""
    if device.type == "cpu":
        return 1
    return int(torch.cuda.get_device_properties(device).total_memory // UNIT)


class Layer(nn.Module):
    """A weight of `times` width x width numbers, of which one is used; its gradient takes as much again."""

    def __init__(self, width: int, times: int, device: torch.device) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(times, width, width, device=device))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Keep what came in for the backward pass, as a layer of width x width does."""
        return torch.relu(inputs * (1 + self.weight[0, 0, 0]))


def layers(width: int, depth: int, device: torch.device) -> nn.Module:
    """Make a model of so many layers on the GPU."""
    return nn.Sequential(*(Layer(width, scale(device), device) for _ in range(depth)))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, rows: torch.Tensor, width: int) -> None:
    """Train one step on a batch, each of whose rows stands for as many as the GPU is larger than 4 MiB."""
    device = next(model.parameters()).device
    inputs = rows.to(device).repeat(scale(device), width)
    optimizer.zero_grad()
    model(inputs).mean().backward()
    optimizer.step()


def batches(batch: int) -> torch.utils.data.DataLoader[torch.Tensor]:
    """Make a loader of three batches."""
    return torch.utils.data.DataLoader(torch.ones(STEPS * batch, 1), batch_size=batch)  # type: ignore[arg-type]


def train(trial: Trial, *, lr: float, width: int = 64, batch: int = 64, depth: int = 2) -> None:
    """Train some steps and report the score of edge.py; the model is not tracked, since it may have 60 GiB."""
    model = layers(width, depth, trial.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    trial.track(optimizer=optimizer)
    for _ in trial.epochs():
        for rows in trial.batches(batches(batch)):
            step(model, optimizer, rows, width)
        trial.report(score=score(lr, width, batch, depth))
