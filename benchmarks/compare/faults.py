"""One contender meets one fault; what came of it is a dictionary of facts, read from outside and by its own package."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.compare.disk import fill, small_disk
from benchmarks.compare.started import Started, kill_process
from benchmarks.compare.stored import read

Facts = dict[str, Any]
BEFORE = 8
"""So many epochs are trained before something is killed, or the disk is filled."""
FULL_SECONDS = 30
"""How long the disk stays full."""
MEMORY = 1400
"""KiB of the simulated GPU: a network of 32 channels finds no room with a whole batch, with half of one it does."""
ENDED = {"TERMINATED", "COMPLETE", "PRUNED", "FAIL", "finished", "stopped", "diverged", "infeasible", "failed"}
"""States that going on does not change; FAIL is Optuna's, which takes a trial up again as a new one."""


def nan(contender: str, work: Path) -> Facts:
    """Run the job to its end with a loss that becomes NaN where the learning rate is too high."""
    started = Started(contender, folder(work), COMPARE_NAIVE="1")
    return facts(contender, started, [started.end()], work / "place")


def memory(contender: str, work: Path) -> Facts:
    """Run the job to its end on a simulated GPU that is too small for a third of the space."""
    started = Started(contender, folder(work), COMPARE_MEMORY=str(MEMORY))
    return facts(contender, started, [started.end()], work / "place")


def driver(contender: str, work: Path) -> Facts:
    """Kill what the user started, then go on."""
    started = Started(contender, folder(work))
    started.until(lambda: len(started.epochs()) >= BEFORE)
    started.kill()
    return gone_on(contender, started, work / "place")


def trial(contender: str, work: Path) -> Facts:
    """Kill the process in which a trial trains."""
    started = Started(contender, folder(work))
    if started.until(lambda: len(started.epochs()) >= BEFORE):
        kill_process(started.epochs()[-1]["pid"])
    return gone_on(contender, started, work / "place")


def disk(contender: str, work: Path) -> Facts:
    """Fill the disk in the middle, make room after some seconds; if it has ended by then, go on."""
    with small_disk(work / "place") as place:
        started = Started(contender, place)
        if started.until(lambda: len(started.epochs()) >= BEFORE):
            fill(place / "ballast")
            began = time.time()
            started.until(lambda: False, FULL_SECONDS)
            ended = None if started.alive() else round(time.time() - began, 1)
            (place / "ballast").unlink()
            return {**gone_on(contender, started, place), "ended_while_full": ended}
        return facts(contender, started, [started.end()], place)


FAULTS: dict[str, Callable[[str, Path], Facts]] = {
    "nan": nan, "memory": memory, "driver": driver, "trial": trial, "disk": disk,
}  # fmt: skip


def folder(work: Path) -> Path:
    """Make the folder that the user works in."""
    (work / "place").mkdir()
    return work / "place"


def gone_on(contender: str, started: Started, place: Path) -> Facts:
    """Wait for the end; where the job is not done then, do what the contender documents, once."""
    ends = [started.end()]
    between = read(contender, place)
    if 0 not in ends[0]["exit"] or ends[0]["hung"] or set(between["trials"]) - ENDED or "unreadable" in between:
        again = Started(contender, place, again=True)
        ends.append(again.end())
        return {**facts(contender, started, ends, place), "between": {**between, "epochs": len(between["epochs"])}}
    return facts(contender, started, ends, place)


def facts(contender: str, started: Started, ends: list[Facts], place: Path) -> Facts:
    """Hold what was trained against what the contender has kept."""
    lines, held = started.epochs(), read(contender, place)
    trained = [(line["config"], line["epoch"]) for line in lines]
    kept = {(config, epoch) for config, epoch in held["epochs"]}
    broken = [line for line in lines if not math.isfinite(line["value"])]
    sound = [line["value"] for line in lines if math.isfinite(line["value"])]
    return {
        "ends": ends,
        "first_result": round(lines[0]["time"] - started.began, 2) if lines else None,
        "trials": held["trials"],
        "best": held["best"],
        "lowest": min(sound, default=None),
        "unreadable": held.get("unreadable"),
        "configurations": len({config for config, _ in trained}),
        "epochs": len(trained),
        "twice": len(trained) - len(set(trained)),
        "not_kept": len(set(trained) - kept),
        "nan_epochs": len(broken),
        "nan_trials": len({line["config"] for line in broken}),
    }
