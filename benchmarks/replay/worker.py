"""A process that plays cells: it reads one job a line, and writes one result a line.

Run by the interpreter that has the method's packages, with the folder of the tables as its only argument.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from benchmarks.replay.methods import METHODS
from benchmarks.replay.tables import load
from benchmarks.replay.trace import Terms

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
Job = dict[str, Any]


class Worker:
    """A worker process as its driver holds it."""

    def __init__(self, python: str, data: Path) -> None:
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.replay.worker", str(data)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def play(self, job: Job) -> dict[str, Any]:
        """Play a cell; raises RuntimeError where the process ends instead."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{job['method']} on {job['task']}, seed {job['seed']}: its process ended; see above")
        return dict(json.loads(line))

    def close(self) -> None:
        """Let the process end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Play job after job until there are no more."""
    out = _results()
    tasks = {(task.family, task.name): task for task in load(Path(sys.argv[1]), smooth=True)}
    for line in sys.stdin:
        job = json.loads(line)
        method, task = job.pop("method"), tasks[job.pop("family"), job.pop("task")]
        found = METHODS[method].run(task, Terms(**job)).line(method)
        out.write(json.dumps(found, separators=(",", ":")) + "\n")
        out.flush()


def _results() -> IO[str]:
    """Keep stdout for results: what a library prints goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


if __name__ == "__main__":
    main()
