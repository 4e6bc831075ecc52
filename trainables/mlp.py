"""A multilayer perceptron on images: quick to train, so quick to tune."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from trainables.data import Data, Split, load, loader
from tuner import Trial

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


def train(
    trial: Trial,
    *,
    lr: float,
    layers: int = 2,
    width: int = 64,
    dropout: float = 0.0,
    activation: str = "relu",
    optimizer: str = "adamw",
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    dataset: str = "digits",
    train_size: int | None = None,
    batch_size: int = 64,
    workers: int = 0,
) -> None:
    """Train an MLP of `layers` hidden layers; report val_accuracy, val_loss and train_loss at each epoch."""
    data = load(dataset, train_size=train_size)
    batches = loader(data.train, batch_size, shuffle=True, workers=workers, seed=trial.seed)
    model = make_model(data, layers=layers, width=width, dropout=dropout, activation=activation)
    parallel, batches = trial.prepare(model, batches)
    steps = make_optimizer(model, optimizer, lr=lr, momentum=momentum, weight_decay=weight_decay)
    scaler = trial.scaler

    trial.example(data.normalize(data.val.images[:2]))
    trial.track(model=model, optimizer=steps, normalize=data.normalize)
    trial.test(lambda: evaluate(model, data, data.test(), trial.device, name="test"))
    for _ in trial.epochs():
        losses = []
        parallel.train()
        for images, labels in trial.batches(batches):
            with trial.autocast():
                logits = parallel(data.normalize(images.to(trial.device)))
                loss = functional.cross_entropy(logits, labels.to(trial.device))
            steps.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(steps)
            scaler.update()
            losses.append(loss.detach())
        train_loss = torch.stack(losses).mean().item()
        trial.report({"train_loss": train_loss, **evaluate(model, data, data.val, trial.device, name="val")})


def make_model(data: Data, *, layers: int, width: int, dropout: float, activation: str) -> nn.Sequential:
    """Stack hidden layers of `width` units, each with an activation and dropout, and a linear layer to the classes."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, but got {activation!r}")
    channels, height, image_width = data.shape
    inputs = channels * height * image_width
    parts: list[nn.Module] = [nn.Flatten()]
    for _ in range(layers):
        parts += [nn.Linear(inputs, width), ACTIVATIONS[activation](), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*parts, nn.Linear(inputs, len(data.classes)))


def make_optimizer(
    model: nn.Module, name: str, *, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Make SGD with momentum, or AdamW, for which `momentum` says nothing."""
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    raise ValueError(f"optimizer must be sgd or adamw, but got {name!r}")


@torch.inference_mode()
def evaluate(model: nn.Module, data: Data, split: Split, device: torch.device, *, name: str) -> dict[str, float]:
    """Compute accuracy (0 to 1) and mean cross entropy on a split, as `<name>_accuracy` and `<name>_loss`."""
    model.eval()
    right = loss = 0.0
    for images, labels in loader(split, 512, shuffle=False):
        logits = model(data.normalize(images.to(device))).cpu()
        right += (logits.argmax(1) == labels).sum().item()
        loss += functional.cross_entropy(logits, labels, reduction="sum").item()
    return {f"{name}_accuracy": right / len(split), f"{name}_loss": loss / len(split)}
