"""The five contenders: the command of each, and one measured run of one of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import figures
from benchmarks.peers import ledger
from benchmarks.peers.job import OUT
from benchmarks.processes import Sampler, Tree

ROOT = Path(__file__).parents[1]
NAMES = {"tuner": "e", "bare": "a", "reuse": "c", "guide": "b", "optuna": "d"}
# (a) repeats the work of (e), so the two stay together; the rest of the order is rotated from round to round.
BLOCKS = (("tuner", "bare"), ("reuse",), ("guide",), ("optuna",))
PATIENCE = 1800


@dataclass(frozen=True)
class Turn:
    """One run of one contender: where its files go, and how much it is asked for."""

    contender: str
    folder: Path
    run: str
    trials: int
    epochs: int
    seed: int

    @property
    def out(self) -> Path:
        """Give the file of lines."""
        return self.folder / f"{self.contender}.jsonl"

    @property
    def ray_temp(self) -> Path:
        """Give Ray's temp folder: short, since paths of sockets are limited to 107 characters."""
        return Path(f"/tmp/rb{os.getpid()}")


def command(turn: Turn) -> list[str]:
    """Give the contender's command, as the report prints it."""
    if turn.contender == "tuner":
        return [
            sys.executable,
            "launch.py",
            "--space",
            "benchmarks/overhead.yaml",
            "--name",
            turn.run,
            "--no-dashboard",
            *_sets(turn),
        ]
    module = {"reuse": "guide", "optuna": "plain_optuna"}.get(turn.contender, turn.contender)
    words = [
        sys.executable,
        "-m",
        f"benchmarks.peers.{module}",
        "--out",
        str(turn.out),
        "--work",
        str(turn.folder / turn.contender),
        "--trials",
        str(turn.trials),
        "--epochs",
        str(turn.epochs),
        "--seed",
        str(turn.seed),
    ]
    return words + {
        "bare": ["--run", f"runs/{turn.run}"],
        "guide": ["--ray-temp", str(turn.ray_temp)],
        "reuse": ["--ray-temp", str(turn.ray_temp), "--reuse"],
    }.get(turn.contender, [])


def _sets(turn: Turn) -> list[str]:
    values = {"budget.trials": turn.trials, "budget.epochs": turn.epochs, "seed": turn.seed}
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def environment(turn: Turn) -> dict[str, str]:
    """Give what all contenders share: one thread each, no usage reports, the same import path."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        OUT: str(turn.out),
    }


def measure(turn: Turn) -> dict[str, Any]:
    """Run one contender in its turn and reduce it to figures; its output is kept beside its lines."""
    turn.folder.mkdir(parents=True, exist_ok=True)
    turn.out.unlink(missing_ok=True)
    log = turn.folder / f"{turn.contender}.log"
    with log.open("w") as output:
        started = time.time()
        process = subprocess.Popen(
            command(turn),
            cwd=ROOT,
            env=environment(turn),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        tree = Tree(process.pid)
        code, ended = _watch(process, tree)
    left = tree.wait_gone()
    for folder in (turn.ray_temp, turn.folder / turn.contender):
        shutil.rmtree(folder, ignore_errors=True)
    result = {
        "contender": turn.contender,
        "exit": code,
        "log": str(log),
        "killed_after": len(left),
        "command": command(turn),
        "cpu": tree.cpu(),
        "driver_memory": tree.driver_peak(),
        "started": started,
        "load_after": os.getloadavg()[0],
    }
    if turn.out.exists():
        result |= figures(lines(turn), started, ended)
    return result


def lines(turn: Turn) -> list[dict[str, Any]]:
    """Read a contender's lines; a process of (e) serves one trial, so its worker is taken from the ledger."""
    events = [json.loads(line) for line in turn.out.read_text().splitlines()]
    if turn.contender == "tuner":
        workers = {one["trial"]: one["pid"] for one in ledger.events(ROOT / "runs" / turn.run)}
        events = [{**one, "pid": workers[one["trial"]]} for one in events]
    return events


def _watch(process: subprocess.Popen[bytes], tree: Tree) -> tuple[int, float]:
    """Wait for the command while its tree is sampled; past the patience, or on Ctrl-C, it is killed."""
    sampler = Sampler(tree)
    sampler.start()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        print(f"killed after {PATIENCE} s", file=sys.stderr)
    finally:
        ended = time.time()
        process.kill()  # a process that has ended is left alone
        code = process.wait()
        sampler.stop()
    return code, ended
