"""Tune a small network on scikit-learn's digits, with Optuna."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from tuner import Trial


def train(trial: Trial, *, lr: float, width: int):
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    train_data, val_data = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    loader = DataLoader(train_data, 64, shuffle=True)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    trial.example(val_data[:2][0])
    trial.track(model=model, optimizer=optimizer)
    for _ in trial.epochs():
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
        trial.report(accuracy=accuracy)
