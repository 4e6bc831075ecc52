"""What earlier runs are worth to a search, on recorded curves: `python -m benchmarks.warm --data FOLDER`.

An earlier run of `auto` trains for ten full trainings; a later one begins with `start.runs`. The earlier one searched
the same space, only that half of the first param's range which lacks the table's best config, or another task of the
family, whose values mean something else though nobody can see it. Cells are kept in raw/warm.jsonl when they are done,
and played again only if that file is deleted. Prints the Markdown table of docs/known.md: the regret of the later run
(benchmarks/replay/tables.py) after so many full trainings, its mean over tasks and seeds, and a 95 % bootstrap interval
over seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import jsonl
from benchmarks.priors import SHOWN, TASKS, means
from benchmarks.replay import ours
from benchmarks.replay.tables import Task, load
from benchmarks.replay.trace import Terms
from tuner.core.search.scale import to_unit
from tuner.core.state import replay
from tuner.earlier import choose, trials_of

RAW = Path(__file__).parent / "raw" / "warm.jsonl"
KINDS = ("auto", "tpe", "random")
EARLIER = {
    "none": "none",
    "same": "one of the same space",
    "half": "one of the half range without the best config",
    "other": "one on another task, as if it were this one",
}
TRAININGS, APART = 10, 1000
"""Full trainings of the earlier run, and how far its seed is from the later one's."""


def half(task: Task) -> Task:
    """Cut off that half of the first param's range in which the table's best config lies."""
    name, dimension = next(iter(ours.experiment(task, Terms(0, 1), {}).space.items()))
    places = np.array([to_unit(dimension, task.params(row)[name]) for row in range(task.configs)])
    keep = (places < 0.5) != (places[task.losses.argmin()] < 0.5)
    return replace(task, hp=task.hp[keep], values=task.values[keep],
                   seconds=None if task.seconds is None else task.seconds[keep])  # fmt: skip


def learned(task: Task, kind: str, other: Task, seed: int) -> list[dict[str, Any]]:
    """Play the earlier run; gives what a later one on the task learns from it."""
    source = half(task) if kind == "half" else other if kind == "other" else task
    terms = Terms(seed + APART, TRAININGS)
    run = ours.Replay(ours.experiment(source, terms, {"search": {"kind": "auto"}}), source, terms)
    ours.play(run)
    trials = trials_of("A", replay(run.records), ours.experiment(task, terms, {}), {})
    return [trial.model_dump() for trial in choose([trials], [])]


def play(task: Task, kind: str, seed: int, found: list[dict[str, Any]]) -> list[float]:
    """Give the regret of a later run at each point of the budget; all trials run to their end unless `auto` pauses."""
    parts: dict[str, Any] = {"search": {"kind": kind}}
    if found:
        parts["start"] = {"runs": ["A"], "learned": found}
    if kind != "auto":
        parts["scheduler"] = {"kind": "none"}
    return ours.run(task, Terms(seed, SHOWN[-1]), parts).regret


def main() -> None:
    """Play the cells that are not kept yet, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recorded curves")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of the later run")
    parser.add_argument("--seeds", type=int, default=10)
    flags = parser.parse_args()
    tasks = [task for task in load(flags.data) if task.name.endswith(TASKS)]
    others = {task.name: next(one for one in tasks if one.family == task.family and one is not task) for task in tasks}
    lines = jsonl.read(RAW)
    done = {(line["kind"], line["earlier"], line["task"], line["seed"]) for line in lines}
    for seed, task, earlier in [(seed, task, one) for seed in range(flags.seeds) for task in tasks for one in EARLIER]:
        todo = [kind for kind in flags.kinds if (kind, earlier, task.name, seed) not in done]
        found = learned(task, earlier, others[task.name], seed) if todo and earlier != "none" else []
        for kind in todo:
            regret = [float(f"{one:.4g}") for one in play(task, kind, seed, found)]
            lines.append({"kind": kind, "earlier": earlier, "task": task.name, "seed": seed, "regret": regret})
            jsonl.append(RAW, lines[-1])
    shown = [{**line, "earlier": EARLIER[line["earlier"]]} for line in lines if line["kind"] in flags.kinds]
    print(means(shown, "earlier", "earlier run"))


if __name__ == "__main__":
    main()
