"""The job of overhead.yaml as each peer needs it: the function, Ray's space, Optuna's suggestions."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import yaml

SPACE = Path(__file__).parents[1] / "overhead.yaml"
TRAINABLE = ("trainables.resnet", "train")
OUT = "BENCHMARK_OUT"  # names the file of lines for (e), whose command line has no room for it


@dataclass(frozen=True)
class Job:
    """What is optimized, for how long, over which space."""

    metric: str
    mode: str
    space: dict[str, dict[str, Any]]
    fixed: dict[str, Any]
    trials: int
    epochs: int
    grace: int
    factor: int
    seed: int

    def function(self) -> Callable[..., None]:
        """Import the function that every contender trains by."""
        return getattr(importlib.import_module(TRAINABLE[0]), TRAINABLE[1])

    def ray_space(self) -> dict[str, Any]:
        """Give the space as Ray Tune's distributions."""
        from ray import tune

        def one(dist: dict[str, Any]) -> Any:
            return (tune.loguniform if dist.get("log") else tune.uniform)(dist["low"], dist["high"])

        return {name: one(dist) for name, dist in self.space.items()}

    def optuna_params(self, trial: Any) -> dict[str, Any]:
        """Ask an Optuna trial for every parameter of the space."""
        return {
            name: trial.suggest_float(name, dist["low"], dist["high"], log=bool(dist.get("log")))
            for name, dist in self.space.items()
        }


def read(path: Path, trials: int | None = None, epochs: int | None = None, seed: int | None = None) -> Job:
    """Read the YAML; the three numbers override it, as `--set` does for this service."""
    raw = yaml.safe_load(path.read_text())
    unknown = {name for name, dist in raw["space"].items() if dist["dist"] != "float"}
    assert not unknown, f"the peers know floats alone, but got {sorted(unknown)}"
    return Job(
        metric=raw["objective"]["metric"],
        mode=raw["objective"]["mode"],
        space=raw["space"],
        fixed=raw["fixed"],
        trials=trials or raw["budget"]["trials"],
        epochs=epochs or raw["budget"]["epochs"],
        grace=raw["scheduler"]["grace_epochs"],
        factor=raw["scheduler"]["reduction_factor"],
        seed=raw["seed"] if seed is None else seed,
    )


def arguments(about: str) -> argparse.ArgumentParser:
    """Make the parser with the flags that all peers share."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, required=True, help="file that gets one JSON line an epoch")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and the peer's own files")
    parser.add_argument("--space", type=Path, default=SPACE)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int)
    return parser


def job_of(flags: argparse.Namespace) -> Job:
    """Read the job that the shared flags describe."""
    return read(flags.space, flags.trials, flags.epochs, flags.seed)


def write_line(out: Path, trial: str, epoch: int, seconds: float, pid: int = 0) -> None:
    """Append one epoch's line; one write with O_APPEND, so that two processes do not mix. `pid`: whose turn it was."""
    line = {"t_end": time.time(), "seconds": seconds, "trial": trial, "epoch": epoch, "pid": pid or os.getpid()}
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    finally:
        os.close(descriptor)


def run_together(processes: Sequence[BaseProcess]) -> NoReturn:
    """Start all, wait for all, and exit with the worst of their codes."""
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    raise SystemExit(max(abs(process.exitcode or 0) for process in processes))
