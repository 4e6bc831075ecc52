"""The job here; ours.yaml is its other half."""

import torch
from job import loader, network, run_epoch


def train(trial, *, lr, momentum, width):
    model = network(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    trial.track(model=model, optimizer=optimizer)
    for _ in trial.epochs():
        trial.report(val_loss=run_epoch(model, optimizer, trial.batches(loader())))
