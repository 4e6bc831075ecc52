"""Machines on which a driver runs, and the S3 server to which their run belongs."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import fsspec
from hosts import Driver
from seaweed import BUCKET, KEY, SECRET, Seaweed
from support import command, environment

from tuner.core.records import Record, Report

TRAINABLE = """
import time
from pathlib import Path
import torch

SLOW = Path(__file__).with_name("slow")

def train(trial, *, lr, sleep=0.2):
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    steps = Steps()
    trial.track(model=model, optimizer=optimizer, steps=steps)
    for epoch in trial.epochs():
        time.sleep(1.0 if SLOW.exists() else sleep)
        steps.n += 1
        assert steps.n == epoch
        print("trained", epoch, flush=True)
        trial.report(loss=lr / epoch)

class Steps:
    def __init__(self): self.n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]
"""
STORAGE = f"s3://{BUCKET}/runs"
URL = f"{STORAGE}/r"


class Head:
    """A machine on which a driver runs: a folder with the user's code, and what reaches the server."""

    def __init__(self, folder: Path, server: Seaweed) -> None:
        self.folder, self.server, self.run = folder, server, folder / "runs" / "r"
        folder.mkdir()
        (folder / "mine.py").write_text(TRAINABLE)
        (folder / "mine.yaml").write_text(
            "trainable: mine:train\nobjective: {metric: loss, mode: min}\nbudget: {trials: 8, epochs: 9}\n"
            "space: {lr: {dist: float, low: 0.001, high: 1.0, log: true}}\nsearch: {kind: random}\n"
            f"storage: {STORAGE}\n"
        )

    def driver(self, *flags: str) -> Driver:
        return Driver(self.folder, [*flags, "--no-dashboard"], run=self.run, **self.server.environment)

    def call(self, *flags: str, code: int = 0) -> str:
        done = subprocess.run(
            command(*flags), cwd=self.folder, env={**environment(), **self.server.environment},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def bucket(server: Seaweed) -> fsspec.AbstractFileSystem:
    address = server.environment["AWS_ENDPOINT_URL"]
    return fsspec.filesystem("s3", key=KEY, secret=SECRET, endpoint_url=address, use_listings_cache=False)


def audited(head: Head, run: str) -> None:
    assert head.call("--resume", run, "--check").endswith("all as they stand in the ledger\n")


def again(run: Sequence[Record]) -> Counter[tuple[str, int, int]]:
    return Counter((one.trial, one.generation, one.epoch) for one in run if isinstance(one, Report))
