"""What the ledger costs: the time that the driver spends in writing it, beside the time that the run takes.

python -m benchmarks.ledger           # the job of the overhead benchmark, three runs; figures go to raw/ledger.json
python -m benchmarks.ledger --quick   # 6 trials of up to 3 epochs, one run; keeps nothing

While the driver writes a record, both slots may wait for it, so the share of the run's time is a bound: no more of the
epochs a second can be lost.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python benchmarks/ledger.py` works too

from benchmarks import machine
from tuner import api
from tuner.core.records import Record, Report
from tuner.ledger import Ledger, read

HERE = Path(__file__).parent
KEPT = HERE / "raw" / "ledger.json"


class Timed:
    """Takes the place of `Ledger.append`, and adds up what it takes."""

    def __init__(self) -> None:
        self.count, self.wall, self.cpu = 0, 0.0, 0.0
        self.append = Ledger.append

    def __call__(self, ledger: Ledger, record: Record) -> Record:
        """Append, and measure it."""
        wall, cpu = time.perf_counter(), time.thread_time()
        written = self.append(ledger, record)
        self.count += 1
        self.wall += time.perf_counter() - wall
        self.cpu += time.thread_time() - cpu
        return written


def one_run(name: str, sets: list[str]) -> dict[str, Any]:
    """Run the job once."""
    timed = Timed()
    Ledger.append = lambda ledger, record: timed(ledger, record)  # type: ignore[method-assign]
    try:
        folder = api.run(api.load(HERE / "overhead.yaml", sets), name, api.Options(dashboard=False)).folder
    finally:
        Ledger.append = timed.append  # type: ignore[method-assign]
    times = [record.time for record in read(folder) if isinstance(record, Report)]
    seconds = times[-1] - times[0]
    return {
        "epochs": len(times),
        "epochs_a_second": (len(times) - 1) / seconds,
        "records": timed.count,
        "milliseconds_a_record": timed.wall / timed.count * 1000,
        "cpu_milliseconds_a_record": timed.cpu / timed.count * 1000,
        "share_of_the_runs_time": timed.wall / seconds,
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small job; keep nothing")
    flags = parser.parse_args()
    stamp, sets = time.strftime("%m%d-%H%M%S"), ["budget.trials=6", "budget.epochs=3"] if flags.quick else []
    runs = [one_run(f"ledger-{stamp}-{turn}", sets) for turn in range(1 if flags.quick else 3)]
    print(json.dumps(runs, indent=1))
    if not flags.quick:
        KEPT.write_text(json.dumps({"machine": machine.facts(), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
