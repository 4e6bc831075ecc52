"""How a run scales: speed-up over logical nodes, and what the driver needs with many live trials. Nothing is trained.

python -m benchmarks.scaling                 # both; figures go to raw/scaling.json and into SCALING.md
python -m benchmarks.scaling --only live     # one of the two; the other's figures are kept
python -m benchmarks.scaling --quick         # a smoke test; keeps nothing

Logical nodes are Ray's own (`ray.cluster_utils.Cluster`): each has its raylet, agents and workers, but all lie on this
machine, so the trials sleep. There is no network between them, and what the nodes themselves need shares the cores with
the driver.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python benchmarks/scaling.py` works too

from benchmarks import curve, machine
from benchmarks.logical import MIB, Driver, cluster, command, memory
from tuner.storage import write_whole

KEPT = Path(__file__).parent / "raw" / "scaling.json"
PAGE = Path(__file__).parent / "SCALING.md"
NODES, ROUNDS = (1, 2, 4, 8), 3
TRIALS, EPOCHS, EPOCH_SECONDS = 16, 20, 0.25
LIVE, PACES, WINDOW = (25, 50, 100, 200), (1.0, 5.0), 45.0
FULL = 0.8
"""No trials are added that would take more of the machine's memory than this."""
START_SECONDS = 15.0
"""How long a live trial's worker may take to start, each."""


def set_pace(pace: Path, seconds: float) -> None:
    """Tell all trials how long an epoch is."""
    write_whole(pace, str(seconds), sync=False)


def on_nodes(work: Path, stamp: str, counts: tuple[int, ...], trials: int, epochs: int) -> list[dict[str, Any]]:
    """Run the same trials on one node, then on more, and so on, as nodes join."""
    pace, found = work / "pace", []
    set_pace(pace, EPOCH_SECONDS)
    with cluster(1) as nodes:
        for count in counts:
            while len(nodes.worker_nodes) < count - 1:
                nodes.add_node(num_cpus=1)
            sets = {"budget.trials": trials, "budget.epochs": epochs}
            with Driver(nodes, f"scaling-{stamp}-{count}", pace, sets) as driver:
                found.append({"nodes": count, **watched(driver)})
            print(found[-1], flush=True)
    return found


def watched(driver: Driver) -> dict[str, Any]:
    """Follow a run to its end: its speed, and the driver's CPU from its first report to its last."""
    seen: list[tuple[int, float]] = []
    while driver.alive():
        time.sleep(0.2)
        reports = driver.reports()
        if reports and driver.process.status() != psutil.STATUS_ZOMBIE:
            seen.append((reports, driver.cpu()["all"]))
    last = next(one for one in seen if one[0] == seen[-1][0])
    reports = driver.records("report")
    return {
        "first_report": reports[0]["time"] - driver.began,
        "cpu_a_report": (last[1] - seen[0][1]) / max(1, last[0] - seen[0][0]),
        **speeds(reports),
    }


def speeds(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Find reports a second: of the whole run, after each worker's first one, and as the sum of each worker's own.

    By the trials' clock: the ledger has the time when the driver heard of it.
    """
    lanes: dict[str, list[float]] = defaultdict(list)
    for one in reports:
        lanes[one["worker"]].append(one["metrics"]["reported"])
    seconds = max(lane[-1] for lane in lanes.values()) - min(lane[0] for lane in lanes.values())
    return {
        "reports": len(reports),
        "seconds": seconds,
        "rate": (len(reports) - len(lanes)) / seconds,
        "rate_of_workers": sum((len(lane) - 1) / (lane[-1] - lane[0]) for lane in lanes.values() if len(lane) > 1),
    }


def with_live(work: Path, stamp: str, counts: tuple[int, ...], paces: tuple[float, ...], window: float) -> list[Any]:
    """Have ever more trials live, in a run of their own each; measure the driver at each count and pace."""
    pace, found = work / "pace", []
    for count in counts:
        live = min(count, holds(found[-1]["memory"])) if found else count
        set_pace(pace, paces[0])
        sets = {"budget.trials": live, "budget.epochs": 10**6}
        with cluster(live) as nodes, Driver(nodes, f"live-{stamp}-{live}", pace, sets) as driver:
            driver.wait_for(live, START_SECONDS * live + 60)
            used = memory(nodes)
            for seconds in paces:
                found.append({"live": live, "pace": seconds, "memory": used, **measured(driver, pace, seconds, window)})
                print(found[-1], flush=True)
    return found


def holds(used: dict[str, float]) -> int:
    """Count the live trials that the machine's memory still holds."""
    now = psutil.virtual_memory()
    return int((FULL * now.total - (now.total - now.available)) / MIB / sum(used.values()))


def measured(driver: Driver, pace: Path, seconds: float, window: float) -> dict[str, Any]:
    """Measure the driver for a while, with epochs of so many seconds."""
    set_pace(pace, seconds)
    time.sleep(2 * seconds + 5)
    began, before, reports = time.time(), driver.cpu(), driver.reports()
    psutil.cpu_percent()
    time.sleep(window)
    after, spent, new = driver.cpu(), time.time() - began, driver.reports() - reports
    delays = sorted(one["time"] - one["metrics"]["reported"] for one in driver.records("report") if one["time"] > began)
    return {
        "reports_a_second": new / spent,
        "cpu_a_report": (after["all"] - before["all"]) / max(1, new),
        "share": (after["all"] - before["all"]) / spent,
        "share_main_thread": (after["main"] - before["main"]) / spent,
        "cores_busy": psutil.cpu_percent() / 100,
        "delay": delays[len(delays) // 2] if delays else None,
        "delay_95": delays[len(delays) * 95 // 100] if delays else None,
        "driver_memory": driver.process.memory_info().rss / MIB,
    }


def spelled(trials: object, epochs: int) -> list[str]:
    """Spell a run's command for the report."""
    sets = {"storage": "FOLDER", "fixed.pace": "FOLDER/pace", "budget.trials": trials, "budget.epochs": epochs}
    return ["python", *command("HOST:PORT", "NAME", sets)[1:]]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("nodes", "live"))
    parser.add_argument("--live", type=int, nargs="+", default=LIVE, help="how many trials live")
    parser.add_argument("--quick", action="store_true", help="very little of both; keep nothing")
    flags = parser.parse_args()
    stamp, work = time.strftime("%m%d-%H%M%S"), Path(tempfile.mkdtemp(prefix="scaling", dir="/tmp"))
    data = json.loads(KEPT.read_text()) if KEPT.exists() and not flags.quick else {}
    counts, paces, window = ((2,), (0.5,), 3.0) if flags.quick else (tuple(flags.live), PACES, WINDOW)
    if flags.only != "live":
        size = ((2,), 4, 3) if flags.quick else (NODES, TRIALS, EPOCHS)
        rounds = [on_nodes(work, f"{stamp}-{turn}", *size) for turn in range(1 if flags.quick else ROUNDS)]
        data["nodes"] = {"machine": machine.facts(), "command": spelled(TRIALS, EPOCHS), "rounds": rounds}
    if flags.only != "nodes":
        found = with_live(work, stamp, counts, paces, window)
        data["live"] = {"machine": machine.facts(), "command": spelled("N", 10**6), "found": found}
    shutil.rmtree(work)
    if flags.quick:
        print(json.dumps(data))
        return
    KEPT.write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(curve.page(data))
    print(f"{PAGE}\n{KEPT}")


if __name__ == "__main__":
    main()
