"""Several trials at once on one GPU: the steps a second of all together, beside those of one alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmarks.gpus import mps, work
from benchmarks.gpus.crew import Child, Failed

Cell = dict[str, Any]
"""One figure: work, parts, mps, turn, seconds that it took, and either `rates` (steps a second of each) or `failed`."""


class Clock:
    """The seconds there are for everything."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds

    def left(self) -> float:
        """Tell how many are left."""
        return self.until - time.monotonic()


@dataclass(frozen=True)
class Plan:
    """What is to be measured."""

    device: str
    seconds: float
    """Of one figure."""
    parts: Sequence[int]
    """Processes at once."""
    rounds: int
    works: Sequence[str] = tuple(work.WORKS)


def measure(plan: Plan, clock: Clock, daemon: mps.Daemon) -> list[Cell]:
    """Measure round after round, with and without MPS, as long as the time allows one more figure."""
    cells: list[Cell] = []
    for turn, is_mps, name, parts in order(plan, daemon.runs):
        slowest = max((cell["seconds"] for cell in cells), default=0.0)
        if clock.left() < 1.5 * slowest + plan.seconds:
            break
        cell = one(plan, name, parts, daemon if is_mps else None)
        cells.append({"work": name, "parts": parts, "mps": is_mps, "turn": turn, **cell})
        tell(cells[-1])
    return cells


def order(plan: Plan, with_mps: bool) -> Iterator[tuple[int, bool, str, int]]:
    """Say what comes after what: a pair with and without MPS for each work, the first of the two in turn."""
    for turn in count() if not plan.rounds else range(plan.rounds):
        ways = (False, True) if turn % 2 == 0 else (True, False)
        for name in plan.works:
            for is_mps in ways if with_mps else (False,):
                for parts in plan.parts:
                    yield turn, is_mps, name, parts


def one(plan: Plan, name: str, parts: int, daemon: mps.Daemon | None = None, precision: str = "fp32") -> Cell:
    """Have so many processes train at once, each held to its share."""
    began = time.monotonic()
    todo = work.Order(name, plan.device, plan.seconds, 1 / parts, precision)
    environment = daemon.environment if daemon else mps.WITHOUT
    crew = [Child(work.member, todo, environment=environment) for _ in range(parts)]
    try:
        told = meet(crew, daemon)
    except Failed as error:
        return {"failed": str(error), "seconds": time.monotonic() - began}
    finally:
        for child in crew:
            child.end()
    rates = [each["steps"] / each["seconds"] for each in told]
    return {"rates": rates, "reserved": max(each["reserved"] for each in told), "seconds": time.monotonic() - began}


def meet(crew: Sequence[Child], daemon: mps.Daemon | None) -> list[dict[str, Any]]:
    """Wait until all are ready, let them go, and end them once all have said what they did."""
    for child in crew:
        child.hear()
    if daemon is not None and not daemon.serves():
        raise Failed("no process became a client of MPS")
    for child in crew:
        child.say("go")
    told = [child.hear() for child in crew]
    for child in crew:
        child.say("stop")
    return told


def tell(cell: Cell) -> None:
    """Print one line."""
    shown = cell.get("failed") or f"{sum(cell['rates']):.1f} steps a second"
    print(f"{cell['work']}, {cell['parts']} at once{', MPS' if cell['mps'] else ''}: {shown}", flush=True)


def ratios(cells: Sequence[Cell], name: str, parts: int, is_mps: bool) -> list[float]:
    """Divide the steps a second of all processes by those of one without MPS, in each round that has both."""
    found = {(c["work"], c["parts"], c["mps"], c["turn"]): sum(c["rates"]) for c in cells if "rates" in c}
    turns = sorted({turn for (*_, turn) in found})
    pairs = [(found.get((name, parts, is_mps, turn)), found.get((name, 1, False, turn))) for turn in turns]
    return [several / alone for several, alone in pairs if several and alone]
