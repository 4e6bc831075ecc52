"""Population based training against a random population of the same size, at equal epochs: `python -m benchmarks.pbt`.

Real runs of the job of overhead.yaml, with a Ray of their own. With one seed both populations begin with the same
params, initial weights and order of the data, so each seed gives a difference. It writes raw/pbt.json and prints the
tables of docs/schedulers/pbt.md: what the best member of each population had, and the mean difference with its 95 %
interval by Student's t.

python -m benchmarks.pbt --seeds 1 --population 4 --epochs 4 --interval 2   # a smoke test of a minute
python -m benchmarks.pbt --add                                               # more seeds beside those that are kept
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import machine
from tuner import Options, run
from tuner.core.student import error_of_mean, mean, quantile
from tuner.outputs import epochs

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


def one(kind: str, seed: int, flags: argparse.Namespace) -> dict[str, float]:
    """Run one population; returns the best of each metric over all members and epochs, and what it cost."""
    began = time.perf_counter()
    result = run(experiment(kind, seed, flags), f"{kind}-{seed}", Options(dashboard=False))
    reports = [report for trial in result.run.trials.values() for report in trial.reports]
    found = {name: end(report.metrics[name] for report in reports) for name, end in METRICS.items()}
    return {**found, "epochs": epochs.of_run(result.run), "seconds": time.perf_counter() - began}


def interval(differences: Sequence[float]) -> float:
    """Find the half width of the 95 % interval of the mean, by Student's t."""
    return quantile(0.025, len(differences) - 1) * error_of_mean(differences)


def table(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Show each seed, and the mean difference."""
    lines = []
    for metric in METRICS:
        pairs = [(each["none"][metric], each["pbt"][metric]) for each in rounds]
        differences = [after - before for before, after in pairs]
        lines += [f"| seed | best of a random population, {metric} | PBT | difference |", "|---|---|---|---|"]
        for each, (before, after), difference in zip(rounds, pairs, differences, strict=True):
            lines.append(f"| {each['seed']} | {before:.5f} | {after:.5f} | {difference:+.5f} |")
        means = [mean([pair[i] for pair in pairs]) for i in range(2)]
        width = f" ± {interval(differences):.5f}" if len(differences) > 1 else ""
        lines += [f"| mean | {means[0]:.5f} | {means[1]:.5f} | {mean(differences):+.5f}{width} |", ""]
    return "\n".join(lines)


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
    print(f"{table(kept)}\n{flags.raw}")


if __name__ == "__main__":
    main()
