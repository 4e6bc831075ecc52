"""Logical nodes on one machine, and a driver on them that is watched: its CPU, its memory, that of its trials."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.contenders import ROOT

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

MIB = 2**20
QUIET = {
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",  # else as many idle workers as there are CPUs, which no trial uses
}
PARTS = {"worker": "Ray's worker", "zygote": "its zygote", "trial": "the trial's process"}


@contextmanager
def cluster(cpus: int) -> Iterator[Cluster]:
    """Start a head with so many logical CPUs, in a folder where nobody else finds it; nodes may be added."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp") as scratch:
        os.environ.update(QUIET, RAY_TMPDIR=scratch)
        (Path(scratch) / "ray").mkdir()
        from ray.cluster_utils import Cluster

        made = Cluster(True, head_node_args={"num_cpus": cpus, "temp_dir": scratch, "include_dashboard": False})
        try:
            yield made
        finally:
            below = [process for raylet in _raylets(made) for process in raylet.children(recursive=True)]
            made.shutdown()
            psutil.wait_procs(below, timeout=60)  # else the next one would find their memory taken
            os.environ.clear()
            os.environ.update(before)


class Driver:
    """The project's command on a cluster, as a process of its own that ends with this block."""

    def __init__(self, cluster: Cluster, name: str, pace: Path, sets: dict[str, object]) -> None:
        """Start it; run and log lie beside the file `pace`."""
        self.run = pace.with_name(name)
        words = command(str(cluster.address), name, {"storage": pace.parent, "fixed.pace": pace, **sets})
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self._log = pace.with_name(f"{name}.log")
        self.began = time.time()
        with self._log.open("w") as output:
            self._command = subprocess.Popen(
                words, cwd=ROOT, env={**environment, **QUIET, "PYTHONPATH": str(ROOT)},
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.process = psutil.Process(self._command.pid)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self._command.terminate()  # nothing where it has ended; else it leaves nothing behind
        try:
            self._command.wait(60)
        except subprocess.TimeoutExpired:
            self._command.kill()
            self._command.wait()

    def reports(self) -> int:
        """Count the reports that are written down."""
        log = self.run / "ledger"
        return log.read_bytes().count(b'"kind":"report"') if log.exists() else 0

    def trials(self) -> int:
        """Count the trials that have reported."""
        return len({one["trial"] for one in self.records("report")})

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Read the records of one kind."""
        from benchmarks.peers import ledger

        log = self.run / "ledger"
        return [one for one in ledger.records(self.run) if one["kind"] == kind] if log.exists() else []

    def cpu(self) -> dict[str, float]:
        """Read the CPU seconds of the driver's process, and of its main thread."""
        whole = self.process.cpu_times()
        main = next(one for one in self.process.threads() if one.id == self.process.pid)
        return {"all": whole.user + whole.system, "main": main.user_time + main.system_time}

    def alive(self) -> bool:
        """Tell whether it runs; raises SystemExit where it has failed."""
        if (code := self._command.poll()) not in (None, 0):
            raise SystemExit(f"exit {code}, see {self._log}")
        return code is None

    def wait_for(self, trials: int, patience: float) -> float:
        """Wait until so many trials have reported; returns the seconds since its start."""
        deadline = time.time() + patience
        while self.trials() < trials:
            if not self.alive() or time.time() > deadline:
                raise SystemExit(f"{self.trials()} of {trials} trials reported within {patience} s, see {self._log}")
            time.sleep(1)
        return time.time() - self.began


def command(address: str, name: str, sets: dict[str, object]) -> list[str]:
    """Spell the command line as a user does."""
    words = [sys.executable, "launch.py", "--space", "benchmarks/scaling.yaml", "--name", name]
    words += ["--address", address, "--no-dashboard"]
    return words + [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]


def memory(cluster: Cluster) -> dict[str, float]:
    """Measure what one live trial takes by part, as the mean over all, MiB: pages that are shared count in parts."""
    found: dict[str, list[float]] = defaultdict(list)
    for raylet in _raylets(cluster):
        for worker in raylet.children():
            if " slot " not in _title(worker):
                continue
            found["worker"].append(_proportional(worker))
            for zygote in worker.children():
                found["zygote"].append(_proportional(zygote))
                found["trial"] += [_proportional(trial) for trial in zygote.children()]
    return {part: sum(ones) / len(ones) / MIB for part, ones in found.items()}


def _raylets(cluster: Cluster) -> list[psutil.Process]:
    nodes = [cluster.head_node, *cluster.worker_nodes]
    return [psutil.Process(info[0].process.pid) for node in nodes for info in [node.all_processes["raylet"]]]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _proportional(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:
        return 0.0
