"""Functions that the YAML files of these tests name; none of them ever runs."""

import asyncio
import functools

from torch_that_is_never_imported import nothing


def train(trial, *, lr: float, momentum: float = 0.9, width: int = 16, optimizer: str = "sgd"):
    trial.track(model=nothing)
    for _ in trial.epochs():
        trial.report(loss=0.0)


def untracked(trial, *, lr: float, width: int = 16):
    for _ in trial.epochs():
        trial.report(loss=lr)


def handed_on(trial, *, lr: float, width: int = 16):
    fit(trial)


def needy(trial, *, lr: float, dataset: str, depth: int):
    trial.report(loss=0.0)


def open_ended(trial, *, lr: float, **options):
    trial.report(loss=0.0)


def positional(trial, lr, width=16):
    trial.report(loss=0.0)


def no_trial(lr: float, width: int = 16):
    return lr * width


def one(lr):
    return lr


def typed(trial, *, lr: float, layers: list[int] = (8,), width: int = 16, name: str | None = None, log: bool = False):
    trial.report(loss=0.0)


async def later(trial, *, lr: float):
    await asyncio.sleep(0)


def train_ray(config):
    return config["lr"]


def fit(trial):
    trial.track()


def evaluate(trial, *, lr: float, width: int = 16):
    return {"accuracy": 0.5}


class Model:
    pass


partial = functools.partial(train, momentum=0.8)


def objective(trial):
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    widths = [trial.suggest_int(f"width{layer}", 8, 32) for layer in range(2)]
    return lr * sum(widths)
