"""Population based training against a random population of the same size, at equal epochs: `python -m benchmarks.pbt`.

Real runs of the job of overhead.yaml, with a Ray of their own. With one seed both populations begin with the same
params, initial weights and order of the data, so each seed gives a difference. A clone goes on from its donor's epoch,
which may be an earlier one, so PBT trains for longer: what it had when as many epochs were trained as the random
population trains is told beside what it had in the end. It writes raw/pbt.json and prints the tables of
docs/schedulers/pbt.md, with the mean difference and its 95 % interval by Student's t. Runs that --work holds already
are read, not made again.

python -m benchmarks.pbt --seeds 1 --population 4 --epochs 4 --interval 2   # a smoke test of a minute
python -m benchmarks.pbt --add                                               # more seeds beside those that are kept
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from benchmarks import machine
from tuner import Options, Result, run
from tuner.core import epochs
from tuner.core.records import Report
from tuner.core.student import error_of_mean, mean, quantile
from tuner.ledger import read

HERE = Path(__file__).parent
RAW = HERE / "raw" / "pbt.json"
METRICS = {"val_accuracy": max, "val_loss": min}
"""The objective, and a finer measure of the same models; the better end of each."""
SCHEDULERS = ("none", "pbt")


def experiment(kind: str, seed: int, flags: argparse.Namespace) -> dict[str, Any]:
    """Make the job of overhead.yaml with one population; the search is random for both."""
    spec = yaml.safe_load((HERE / "overhead.yaml").read_text())
    scheduler = {"kind": "none"} if kind == "none" else {"kind": "pbt", "interval_epochs": flags.interval}
    return {
        **spec,
        "budget": {"trials": flags.population, "epochs": flags.epochs},
        "search": {"kind": "random"},
        "scheduler": scheduler,
        "seed": seed,
        "storage": str(flags.work),
    }


def one(kind: str, seed: int, flags: argparse.Namespace) -> dict[str, Any]:
    """Run one population; returns the best of each metric over all members, at equal epochs and in the end."""
    name = f"{kind}-{seed}"
    folder = flags.work / name
    result = Result(folder) if folder.exists() else run(experiment(kind, seed, flags), name, Options(dashboard=False))
    reports = [record for record in read(folder) if isinstance(record, Report)]
    trained = list(accumulate(epochs.between(reports)))
    equal = [one for one, spent in zip(reports, trained, strict=True) if spent <= flags.population * flags.epochs]
    return {
        **{when: best(some) for when, some in (("equal", equal), ("end", reports))},
        "epochs": trained[-1],
        "seconds": result.run.elapsed,
    }


def best(reports: Sequence[Report]) -> dict[str, float]:
    """Find the best finite value of each metric."""
    return {
        name: end(report.metrics[name] for report in reports if math.isfinite(report.metrics[name]))
        for name, end in METRICS.items()
    }


def interval(differences: Sequence[float]) -> float:
    """Find the half width of the 95 % interval of the mean, by Student's t."""
    return quantile(0.025, len(differences) - 1) * error_of_mean(differences)


def table(rounds: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Show each seed, and the mean differences."""
    titles = (
        "seed",
        f"random: {metric}",
        "PBT, equal epochs",
        "difference",
        "PBT, in the end",
        "difference",
        "its epochs",
    )
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    rows = [[each["none"]["end"][metric], *(each["pbt"][when][metric] for when in ("equal", "end"))] for each in rounds]
    for each, (before, equal, end) in zip(rounds, rows, strict=True):
        shown = f"{before:.4f} | {equal:.4f} | {equal - before:+.4f} | {end:.4f} | {end - before:+.4f}"
        lines.append(f"| {each['seed']} | {shown} | {each['pbt']['epochs']} for {each['none']['epochs']} |")
    middles = [mean([row[i] for row in rows]) for i in range(3)]
    apart = [difference([row[i] - row[0] for row in rows]) for i in (1, 2)]
    shown = f"{middles[0]:.4f} | {middles[1]:.4f} | {apart[0]} | {middles[2]:.4f} | {apart[1]}"
    return "\n".join([*lines, f"| mean | {shown} | |"])


def difference(values: Sequence[float]) -> str:
    """Show the mean, and its interval where there is one."""
    return f"{mean(values):+.4f}" + (f" ± {interval(values):.4f}" if len(values) > 1 else "")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--population", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--interval", type=int, default=3, help="epochs between two comparisons")
    parser.add_argument("--work", type=Path, default=Path(f"/tmp/pbt-{time.strftime('%m%d-%H%M%S')}"))
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("--add", action="store_true", help="keep the seeds measured earlier, and go on after them")
    return parser.parse_args()


def main() -> None:
    """Run both populations in turn for each seed, keep the figures after each, print the tables."""
    flags = parse()
    kept = json.loads(flags.raw.read_text())["rounds"] if flags.add else []
    setting = {name: getattr(flags, name) for name in ("population", "epochs", "interval")}
    for seed in range(len(kept), len(kept) + flags.seeds):
        order = SCHEDULERS if seed % 2 == 0 else SCHEDULERS[::-1]
        kept.append({"seed": seed, **{kind: one(kind, seed, flags) for kind in order}})
        data = {"machine": machine.facts(), "setting": setting, "rounds": kept}
        flags.raw.parent.mkdir(parents=True, exist_ok=True)
        flags.raw.write_text(json.dumps(data, indent=1) + "\n")
    print("\n\n".join([*(table(kept, metric) for metric in METRICS), str(flags.raw)]))


if __name__ == "__main__":
    main()
