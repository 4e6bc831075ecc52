"""(a) The limit: PyTorch loops in two plain processes over the configs and epochs of a finished run of this service."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from benchmarks.peers import ledger
from benchmarks.peers.job import Job, arguments, job_of, run_together, write_line
from benchmarks.peers.shim import PeerTrial


class Enough(Exception):
    """The trial has its epochs."""


def train_one(job: Job, item: ledger.Work, out: Path, work: Path) -> None:
    """Train one trial as a script would: a loop, a line, a torch.save."""
    params = {**job.fixed, **item.params}
    folder = work / item.trial
    folder.mkdir(parents=True, exist_ok=True)
    trial = PeerTrial(item.trial, params, job.epochs, job.seed, folder)

    def on_report(epoch: int, seconds: float, metrics: dict[str, float]) -> None:
        write_line(out, item.trial, epoch, seconds)
        trial.save(folder / "checkpoint.pt")
        if epoch >= item.epochs:
            raise Enough

    trial.on_report = on_report
    try:
        job.function()(trial, **params)
    except Enough:
        return


def loop(job: Job, items: list[ledger.Work], taken: Any, out: Path, work: Path) -> None:
    """Take the next trial until none is left."""
    while True:
        with taken.get_lock():
            place, taken.value = taken.value, taken.value + 1
        if place >= len(items):
            return
        train_one(job, items[place], out, work)


def main() -> None:
    """Start the two processes and wait."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--run", type=Path, required=True, help="run folder of this service whose work is repeated")
    flags = parser.parse_args()
    job, items = job_of(flags), ledger.work(flags.run)
    context = multiprocessing.get_context("spawn")
    taken = context.Value("i", 0)
    pair = [context.Process(target=loop, args=(job, items, taken, flags.out, flags.work)) for _ in range(2)]
    run_together(pair)


if __name__ == "__main__":
    main()
