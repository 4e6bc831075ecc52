"""Frozen against thawed: what to train of a pretrained language model when there are few labels.

    python launch.py --space benchmarks/finetune.yaml --name finetune-frozen
    python -m benchmarks.finetune runs/finetune-frozen

The second command reads the ledger, prints a table and writes benchmarks/raw/finetune.json.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from trainables import finetune
from trainables.finetune import warm_up
from tuner import Trial

__all__ = ["train", "warm_up"]

STRATEGIES: dict[str, dict[str, Any]] = {
    "head alone": {"frozen": 7},
    "two layers": {"frozen": 5},
    "all": {"frozen": 0},
    "all from epoch 2": {"frozen": 7, "thaw_epoch": 2},
    "all, random weights": {"frozen": 0, "weights": "random"},
}
RAW = Path(__file__).parent / "raw" / "finetune.json"


def train(
    trial: Trial, *, strategy: str, repeat: int, lr_head: float = 0.01, lr_body: float = 3e-4, train_size: int = 600
) -> None:
    """Fine-tune by a strategy; `repeat` only makes one more trial of the same kind, each with a seed of its own."""
    finetune.train(trial, lr_head=lr_head, lr_body=lr_body, train_size=train_size, **STRATEGIES[strategy])


def curves(run: Path) -> dict[str, list[list[dict[str, float]]]]:
    """Read each strategy's trials out of a ledger: for each trial its reports, in order."""
    records = [json.loads(line.split(" ", 1)[1]) for line in (run / "ledger").read_text().splitlines()]
    params = {record["trial"]: record["params"] for record in records if record["kind"] == "suggested"}
    found: dict[str, list[list[dict[str, float]]]] = {strategy: [] for strategy in STRATEGIES}
    for trial, values in params.items():
        reports = [record for record in records if record["kind"] == "report" and record["trial"] == trial]
        found[values["strategy"]].append([one["metrics"] | {"seconds": one["seconds"]} for one in reports])
    return found


def table(found: dict[str, list[list[dict[str, float]]]]) -> str:
    """Show mean and range over the trials of the last epoch's accuracy, and the seconds of an epoch."""
    lines = [
        "| trained | val_accuracy, mean | lowest to highest | val_loss | seconds an epoch |",
        "|---|---|---|---|---|",
    ]
    for strategy, trials in found.items():
        last = [trial[-1] for trial in trials]
        accuracy = [report["val_accuracy"] for report in last]
        loss = statistics.mean(report["val_loss"] for report in last)
        seconds = statistics.median(report["seconds"] for trial in trials for report in trial)
        spread = f"{min(accuracy):.3f} to {max(accuracy):.3f}"
        lines.append(f"| {strategy} | {statistics.mean(accuracy):.3f} | {spread} | {loss:.2f} | {seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    by_strategy = curves(Path(sys.argv[1]))
    print(table(by_strategy))
    RAW.write_text(json.dumps(by_strategy, indent=1) + "\n")
