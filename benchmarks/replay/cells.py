"""Which cells there are, which are kept already, and playing the rest: a cell is a method on a task with a seed."""

from __future__ import annotations

import json
import queue
import shlex
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import jsonl, machine
from benchmarks.replay.methods import METHODS, versions
from benchmarks.replay.place import RAW
from benchmarks.replay.tables import Task
from benchmarks.replay.worker import Job, Worker

Line = dict[str, Any]
CELL = ("method", "family", "task", "seed", "workers", "seconds")
"""What tells one cell from another."""


def kept(folder: Path = RAW) -> list[Line]:
    """Read what was played; of a cell that was played twice the larger budget counts, or of the same one the last."""
    lines: dict[tuple[Any, ...], Line] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in jsonl.read(file):
            cell = tuple(line[key] for key in CELL)
            if cell not in lines or line["budget"] >= lines[cell]["budget"]:
                lines[cell] = line
    return list(lines.values())


def jobs(methods: Iterable[str], tasks: list[Task], seeds: int, terms: dict[str, Any], folder: Path = RAW) -> list[Job]:
    """List the cells that are not kept yet, or only with a smaller budget."""
    there = {tuple(line[key] for key in CELL) for line in kept(folder) if line["budget"] >= terms["budget"]}
    all_of_them: list[Job] = [
        {"method": method, "family": task.family, "task": task.name, "seed": seed, **terms}
        for method in methods
        for seed in range(seeds)
        for task in tasks
        if METHODS[method].plays(task)
    ]
    return [job for job in all_of_them if tuple(job[key] for key in CELL) not in there]


def play(todo: list[Job], data: Path, count: int, folder: Path = RAW) -> list[str]:
    """Play cells in `count` processes at once and keep each when it is done; returns what failed."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in todo:
        waiting.put(job)
    run = _Run(waiting, data, folder, len(todo))
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(run.lane) for _ in range(count)]:
            future.result()
    return run.failed


class _Run:
    def __init__(self, waiting: queue.SimpleQueue[Job], data: Path, folder: Path, count: int) -> None:
        self.waiting, self.data, self.folder, self.left = waiting, data, folder, count
        self.failed: list[str] = []
        self.lock = threading.Lock()

    def lane(self) -> None:
        """Play one cell after the other, in a process that serves as long as its interpreter is the right one."""
        worker, python = None, ""
        try:
            while True:
                try:
                    job = self.waiting.get_nowait()
                except queue.Empty:
                    return
                if worker is None or python != METHODS[job["method"]].python:
                    if worker is not None:
                        worker.close()
                    python = METHODS[job["method"]].python
                    worker = Worker(python, self.data)
                try:
                    self._keep(worker.play(job))
                except RuntimeError as error:
                    self.failed.append(str(error))
                    worker.close()
                    worker = None
        finally:
            if worker is not None:
                worker.close()

    def _keep(self, line: Line) -> None:
        with self.lock:
            jsonl.append(self.folder / f"{line['method']}.jsonl", line)
            self.left -= 1
            name = f"{line['method']}, {line['family']} {line['task']}, seed {line['seed']}"
            print(f"{name}: {line['cpu']:.1f} s; {self.left} to go", file=sys.stderr, flush=True)


def note(methods: Iterable[str], folder: Path = RAW) -> None:
    """Write down with which versions, on which machine and by which command the methods are run; earlier times stay."""
    file = folder / "about.json"
    about: dict[str, list[dict[str, str]]] = json.loads(file.read_text()) if file.exists() else {}
    facts, command = machine.facts(), shlex.join(["python", "-m", "benchmarks.search", *sys.argv[1:]])
    for method in methods:
        own = {"packages": versions(METHODS[method]), "command": command}
        told = {key: facts[key] for key in ("date", "hardware", "system", "commit")} | own
        before = [one for one in about.get(method, []) if any(one[key] != told[key] for key in ("commit", "command"))]
        about[method] = [*before, told]
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(about, indent=1) + "\n")
