"""What a command and all its descendants use: memory and CPU by role, read from /proc."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
DAEMONS = ("gcs_server", "raylet")
DAEMON_WORDS = (
    "log_monitor.py",
    "ray/dashboard",
    "ray-dashboard",
    "DashboardAgent",
    "runtime_env/agent",
    "RuntimeEnvAgent",
    "autoscaler/_private/monitor",
    "autoscaler/v2/monitor",
)
Key = tuple[int, int]


@dataclass
class Seen:
    """One process as it was last seen."""

    role: str
    cpu: float
    peak: int
    alive: bool = True


def stat(pid: int) -> tuple[int, int, float, bool]:
    """Read parent, start time, CPU seconds and whether the process still runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), int(fields[19]), (int(fields[11]) + int(fields[12])) / TICK, fields[0] != "Z"


def peak_memory(pid: int) -> int:
    """Read the highest resident memory so far, bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def role_of(pid: int) -> str:
    """Tell Ray's daemons from the processes that train."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    if Path(words[0]).name in DAEMONS:
        return "daemons"
    head = " ".join(words[:4])
    return "daemons" if any(word in head for word in DAEMON_WORDS) else "workers"


class Tree:
    """Follow a command and its descendants, orphans included once seen, until all are gone."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.seen: dict[Key, Seen] = {}

    def sample(self) -> None:
        """Look once at every process."""
        table = dict(_table())
        members = {key[0] for key, one in self.seen.items() if one.alive and table.get(key[0], (0, 0))[1] == key[1]}
        members |= {self.root} & table.keys()
        grown = True
        while grown:
            more = {pid for pid, (parent, *_) in table.items() if parent in members} - members
            members |= more
            grown = bool(more)
        now = {(pid, table[pid][1]) for pid in members}
        for key, one in self.seen.items():
            one.alive = key in now and table[key[0]][3]
        for pid in members:
            self._note(pid, *table[pid][1:])

    def _note(self, pid: int, started: int, cpu: float, alive: bool) -> None:
        try:
            role = "driver" if pid == self.root else role_of(pid)
            peak = peak_memory(pid)
        except OSError:
            return
        if not alive:  # a zombie has no command line left
            return
        before = self.seen.get((pid, started))
        self.seen[pid, started] = Seen(role, cpu, max(peak, before.peak if before else 0))

    def alive(self) -> list[int]:
        """List who is left, the command itself aside."""
        self.sample()
        return [pid for (pid, _), one in self.seen.items() if one.alive and pid != self.root]

    def cpu(self) -> dict[str, float]:
        """Sum CPU seconds by role, up to the last look at each process."""
        total: dict[str, float] = defaultdict(float)
        for one in self.seen.values():
            total[one.role] += one.cpu
        return {role: round(seconds, 2) for role, seconds in total.items()}

    def driver_peak(self) -> int:
        """Give the highest resident memory of the command itself, bytes."""
        return max((one.peak for one in self.seen.values() if one.role == "driver"), default=0)

    def wait_gone(self, patience: float = 30.0) -> list[int]:
        """Wait until every descendant is gone; kill, by its id, what outlives the patience, and say what that was."""
        until = time.time() + patience
        while self.alive() and time.time() < until:
            time.sleep(0.5)
        left = self.alive()
        _kill(left)
        return left


def _table() -> Iterable[tuple[int, tuple[int, int, float, bool]]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                yield int(name), stat(int(name))
            except (OSError, IndexError):
                continue


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class Sampler(threading.Thread):
    """Look at a tree twice a second until told to stop."""

    def __init__(self, tree: Tree, period: float = 0.5) -> None:
        super().__init__(daemon=True)
        self.tree = tree
        self.period = period
        self.done = threading.Event()

    def run(self) -> None:
        """Look, sleep, look again."""
        while not self.done.wait(self.period):
            self.tree.sample()

    def stop(self) -> None:
        """End the thread after its present look."""
        self.done.set()
        self.join()
