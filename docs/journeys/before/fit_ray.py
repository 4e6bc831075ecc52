"""Tune a small network on scikit-learn's digits, with Ray Tune."""

import tempfile
from pathlib import Path

import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def train(config):
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    train_data, val_data = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    loader = DataLoader(train_data, 64, shuffle=True)
    model = nn.Sequential(nn.Linear(64, config["width"]), nn.ReLU(), nn.Linear(config["width"], 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    start = 0
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "state.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["epoch"] + 1
    for epoch in range(start, 9):
        model.train()
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            x, y = val_data[:]
            accuracy = (model(x).argmax(1) == y).float().mean().item()
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, Path(folder) / "state.pt")
            tune.report({"accuracy": accuracy}, checkpoint=tune.Checkpoint.from_directory(folder))


def main():
    tuner = tune.Tuner(
        train,
        param_space={"lr": tune.loguniform(1e-4, 0.3), "width": tune.lograndint(8, 129)},
        tune_config=tune.TuneConfig(metric="accuracy", mode="max", num_samples=20, scheduler=ASHAScheduler(max_t=9)),
    )
    print(tuner.fit().get_best_result().config)


if __name__ == "__main__":
    main()
