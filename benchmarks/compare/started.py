"""A contender's command in processes of its own: started, watched, killed, waited for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.compare.lines import PROGRAMS
from benchmarks.processes import Sampler, Tree

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds that one command may take."""
ORPHAN_SECONDS = 10.0
"""How long what a command started may outlive it before it is killed here."""
LETTER = re.compile("[a-z]")
COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COMMANDS = {
    "ray": {"first": [[str(PROGRAMS / "ray_tune.py")]]},
    "optuna": {"first": [[str(PROGRAMS / "optuna_alone.py")]] * 2},
    "tuner": {
        "first": [["-m", "tuner", "--space", str(PROGRAMS / "ours.yaml"), "--name", "job"]],
        "again": [["-m", "tuner", "--resume", "job"]],
    },
}
"""What a user types, after `python`; "again" where that is another command than the first. Optuna is started twice."""
STUDY_THERE = "A new study created"
"""What the first of Optuna's processes says before the second is started: both at once trip over making the tables."""


class Started:
    """One contender's command, running in a folder; its epochs' lines and its output lie beside that folder."""

    def __init__(self, contender: str, folder: Path, again: bool = False, **more: str) -> None:
        self.contender = contender
        self.out, self.output = folder.parent / "epochs.jsonl", folder.parent / f"said{int(again)}"
        commands = COMMANDS[contender]
        self.temp = tempfile.TemporaryDirectory(prefix="cmp", dir="/tmp", ignore_cleanup_errors=True)
        self.began = time.time()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.trees: list[Tree] = []
        self._samplers: list[Sampler] = []
        for words in commands["again"] if again and "again" in commands else commands["first"]:
            if self.processes and not again:
                self.until(lambda: STUDY_THERE in self.output.read_text())
            self._start(words, folder, more)

    def _start(self, words: list[str], folder: Path, more: dict[str, str]) -> None:
        with self.output.open("a") as file:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=folder, env={**self.environment(), **more},
                stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        self.trees.append(Tree(process.pid))
        self._samplers.append(Sampler(self.trees[-1]))
        self._samplers[-1].start()

    def environment(self) -> dict[str, str]:
        """Give what all share; no cluster of somebody else is to be found, and Ray gets a temp folder of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
        ray = {"RAY_ADDRESS": "local", "RAY_TMPDIR": self.temp.name} if self.contender == "ray" else {}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        more = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COMPARE_OUT": str(self.out)}
        return {**kept, **ray, **more, "RAY_USAGE_STATS_ENABLED": "0"}

    def epochs(self) -> list[dict[str, Any]]:
        """Read the lines of all epochs so far."""
        return [json.loads(line) for line in self.out.read_text().splitlines()] if self.out.exists() else []

    def alive(self) -> bool:
        """Tell whether one of the commands still runs."""
        return any(process.poll() is None for process in self.processes)

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Wait for something, or the command's end; tells whether it came."""
        deadline = time.monotonic() + seconds
        while not (came := condition()) and self.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        return came

    def kill(self) -> None:
        """Kill the commands themselves, as `kill -9` does, at once."""
        for process in self.processes:
            process.kill()

    def end(self) -> dict[str, Any]:
        """Wait for the end, and until nothing of it lives; what hangs is killed, and counted."""
        self.until(lambda: False, PATIENCE - (time.time() - self.began))
        hung = self.alive()
        seconds = time.time() - self.began
        self.kill()
        codes = [process.wait() for process in self.processes]
        for sampler in self._samplers:
            sampler.stop()
        left = self._outlive()
        self.temp.cleanup()
        text = self.output.read_text(errors="replace")
        told = {"printed": len(text.splitlines()), "tracebacks": text.count("Traceback (most"), "said": self.said()}
        return {"exit": codes, "hung": hung, "seconds": round(seconds, 1), "outlived": left, **told}

    def _outlive(self) -> list[str]:
        """Wait until nothing below the commands lives, some seconds at most; names and kills what does then."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while any(tree.alive() for tree in self.trees) and time.monotonic() < deadline:
            time.sleep(0.5)
        names = [title(pid) for tree in self.trees for pid in tree.alive()]
        for tree in self.trees:
            tree.wait_gone(0)
        return names

    def said(self) -> list[str]:
        """Give the last lines that the user reads, without colours."""
        shown = COLOURS.sub("", self.output.read_text(errors="replace")).replace("\r", "\n").splitlines()
        return [line.rstrip()[:240] for line in shown if LETTER.search(line)][-8:]


def title(pid: int) -> str:
    """Name a process as it names itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120].strip()
    except OSError:
        return "gone"


def kill_process(pid: int) -> None:
    """Kill one process by its id."""
    os.kill(pid, signal.SIGKILL)
