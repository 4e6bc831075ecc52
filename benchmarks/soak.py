"""Many trials in one run: does it slow down, does the driver grow, and how long does its ledger take to read?

python -m benchmarks.soak            # 5,000 trials of one report each; figures go to raw/soak.json
python -m benchmarks.soak --trials 500 --quick
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python benchmarks/soak.py` works too

from benchmarks import machine, rates
from benchmarks.contenders import ROOT
from benchmarks.peers import ledger
from tuner.outputs.results import read_state

KEPT = Path(__file__).parent / "raw" / "soak.json"


def command(name: str, trials: int) -> list[str]:
    """Give the command of the run."""
    return rates.command("rates_trials.yaml", name, (f"budget.trials={trials}",))


def soak(name: str, trials: int) -> dict[str, Any]:
    """Run it; watch how many trials are done, and how much memory the driver has."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(
        command(name, trials), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    log, memory = ROOT / "runs" / name / "ledger", {}
    marks = [trials // 5, trials - trials // 100]
    while driver.poll() is None:
        time.sleep(0.5)
        done = log.read_bytes().count(b'"kind":"report"') if log.exists() else 0
        for mark in [mark for mark in marks if done >= mark and mark not in memory]:
            memory[mark] = psutil.Process(driver.pid).memory_info().rss
    times = sorted(event["t_end"] for event in ledger.events(ROOT / "runs" / name))
    tenth = max(2, len(times) // 10)
    began = time.perf_counter()
    state = read_state(ROOT / "runs" / name)
    return {
        "exit": driver.returncode,
        "trials": len(state.trials),
        "rate_first_tenth": _rate(times[:tenth]),
        "rate_last_tenth": _rate(times[-tenth:]),
        "memory_at": memory,
        "ledger_bytes": log.stat().st_size,
        "replay_seconds": time.perf_counter() - began,
    }


def _rate(times: list[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0])


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="keep nothing")
    flags = parser.parse_args()
    name = f"soak-{time.strftime('%m%d-%H%M%S')}"
    found = soak(name, flags.trials)
    first, last = found["memory_at"].values()
    found |= {"memory_growth": last / first - 1, "rate_ratio": found["rate_last_tenth"] / found["rate_first_tenth"]}
    data = {"machine": machine.facts(), "command": ["python", *command(name, flags.trials)[1:]], "figures": found}
    print(json.dumps(found, indent=1))
    if not flags.quick:
        KEPT.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
