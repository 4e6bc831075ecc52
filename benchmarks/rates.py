"""Time the service alone, through its public command line, with trainables that train nothing.

python -m benchmarks.rates            # three times each; figures go to raw/rates.json and into OVERHEAD.md
python -m benchmarks.rates --quick    # a smoke test; keeps nothing
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python benchmarks/rates.py` works too

from benchmarks import machine, overhead, report
from benchmarks.contenders import PATIENCE, ROOT
from benchmarks.peers import ledger

# name, YAML, what is set on the command line, in full and in the smoke test
JOBS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("reports", "rates_reports.yaml", (), ("budget.epochs=200",)),
    ("random_200", "rates_trials.yaml", ("budget.trials=200",), ("budget.trials=10",)),
    ("random_2000", "rates_trials.yaml", (), ("budget.trials=20",)),
    ("tpe_2000", "rates_trials.yaml", ("search.kind=tpe",), ("budget.trials=20", "search.kind=tpe")),
)


def command(yaml: str, name: str, sets: tuple[str, ...]) -> list[str]:
    """Give the command of one run."""
    words = [sys.executable, "launch.py", "--space", f"benchmarks/{yaml}", "--name", name, "--no-dashboard"]
    return words + [word for one in sets for word in ("--set", one)]


def run(words: list[str], log: Path) -> None:
    """Run a command to its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    with log.open("w") as output:
        code = subprocess.run(
            words, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False
        ).returncode
    if code:
        raise SystemExit(f"exit {code}, see {log}")


def rate(events: list[dict[str, Any]]) -> float:
    """Give reports a second, from the first to the last; where each trial reports once, trials a second."""
    times = sorted(one["t_end"] for one in events)
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9)


def change_of_trials(events: list[dict[str, Any]]) -> float | None:
    """Give the median seconds from a trial's last report to the next one's first, less that one's own seconds."""
    lanes: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for one in sorted(events, key=lambda one: one["t_end"]):
        lanes[one["pid"]].append(one)
    found = [
        after["t_end"] - after["seconds"] - before["t_end"]
        for lane in lanes.values()
        for before, after in pairwise(lane)
        if before["trial"] != after["trial"]
    ]
    return median(found) if found else None


def one_round(stamp: str, quick: bool, work: Path) -> dict[str, float | None]:
    """Run each job once; `_end` is the rate over the last tenth."""
    figures: dict[str, float | None] = {}
    for job, yaml, full, small in JOBS:
        name = f"rates-{stamp}-{job}"
        run(command(yaml, name, small if quick else full), work / f"{name}.log")
        events = ledger.events(ROOT / "runs" / name)
        figures[job] = rate(events)
        figures[f"{job}_end"] = rate(sorted(events, key=lambda one: one["t_end"])[-max(2, len(events) // 10) :])
        figures[f"{job}_change"] = change_of_trials(events)
        print(job, {key: value for key, value in figures.items() if key.startswith(job)}, flush=True)
    figures["random_ratio"] = (figures["random_2000"] or 0.0) / (figures["random_200"] or 1.0)
    return figures


def main() -> None:
    """Measure, keep the figures, write OVERHEAD.md anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    flags = parser.parse_args()
    stamp = time.strftime("%m%d-%H%M%S")
    work = Path(f"/tmp/rates-{stamp}")
    work.mkdir()
    rounds = [one_round(f"{stamp}-{place}", flags.quick, work) for place in range(1 if flags.quick else flags.rounds)]
    figures = {key: [one[key] for one in rounds if one[key] is not None] for key in rounds[0]}
    commands = [command(yaml, "NAME", sets)[1:] for _, yaml, sets, _ in JOBS]
    data = {"machine": machine.facts(), "figures": figures, "commands": [["python", *one] for one in commands]}
    if flags.quick:
        print(json.dumps(figures, indent=1))
        return
    overhead.RATES.parent.mkdir(exist_ok=True)
    overhead.RATES.write_text(json.dumps(data, indent=1) + "\n")
    overhead.PAGE.write_text(report.page(overhead.kept(overhead.RAW), data))
    print(f"{overhead.PAGE}\n{overhead.RATES}")


if __name__ == "__main__":
    main()
