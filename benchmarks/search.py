"""What each method finds for how much, on recorded learning curves: `python -m benchmarks.search --data FOLDER`.

FOLDER holds FAMILY/*.npz (`benchmarks/replay/tables.py` says in which form). Each cell, a method on a task with a seed,
is kept in raw/search/METHOD.jsonl when it is done, so an interrupted benchmark goes on where it stopped; a method that
has changed is played anew after its file was deleted. At the end it writes SEARCH.md and its pictures; `--report` does
only that. Of other curves than those that are kept there, all of it goes into raw/search-HASH, or where `--out` says.
Syne Tune wants an environment of its own (`syne-tune` and `huggingface_hub`), named by TUNER_SYNE_PYTHON.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.replay import cells, page, place
from benchmarks.replay.methods import METHODS
from benchmarks.replay.tables import Task, load
from benchmarks.replay.trace import WORKERS


def main(words: list[str] | None = None) -> None:
    """Play the cells that are missing, then write the report; exits with 1 where a cell failed."""
    flags = _flags().parse_args(words)
    if flags.data is None and not flags.report:
        raise SystemExit("--data: must be the folder of the recorded curves.")
    if flags.budget < 1:
        raise SystemExit(f"--budget: must be at least 1, but got {flags.budget:g}.")
    tasks = [] if flags.report else load(flags.data, flags.tasks)
    at = place.choose(flags.data, flags.out)
    failed = [] if flags.report else _play(flags, tasks, at.cells)
    page.write(at)
    print(at.report)
    if failed:
        raise SystemExit("\n".join([f"{len(failed)} cells failed:", *failed]))


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the recorded curves")
    parser.add_argument("--out", type=Path, help="folder of cells and report; by default one for these curves")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="all by default")
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=[],
        help="families, or parts of the tasks' names; by default all "
        "that were recorded and those made to mislead; FAMILY-smooth has more between its configs",
    )
    parser.add_argument("--runs", type=int, default=30, help="seeds of each cell")
    parser.add_argument("--budget", type=float, default=50, help="full trainings of each run")
    parser.add_argument("--workers", type=int, default=WORKERS, help="asynchronous workers on the virtual clock")
    parser.add_argument("--seconds", action="store_true", help="an epoch takes the table's seconds, where it has them")
    parser.add_argument("--jobs", type=int, default=2, help="processes that play cells at once")
    parser.add_argument("--report", action="store_true", help="write the report from what is kept, and play nothing")
    return parser


def _play(flags: argparse.Namespace, tasks: list[Task], folder: Path) -> list[str]:
    tasks = [task for task in tasks if task.seconds is not None or not flags.seconds]
    methods = []
    for name in flags.methods:
        if reason := METHODS[name].missing():
            print(f"{name} is left out: {reason}", file=sys.stderr)
        else:
            methods.append(name)
    terms = {"budget": flags.budget, "workers": flags.workers, "seconds": flags.seconds}
    todo = cells.jobs(methods, tasks, flags.runs, terms, folder)
    cells.note(sorted({job["method"] for job in todo}), folder)
    return cells.play(todo, flags.data, flags.jobs, folder)


if __name__ == "__main__":
    main()
