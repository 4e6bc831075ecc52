r"""Frozen against thawed: what to train of a pretrained language model when there are few labels.

    python launch.py --space benchmarks/finetune.yaml --name finetune-frozen
    python -m benchmarks.finetune runs/finetune-frozen finetune
    python launch.py --space benchmarks/finetune.yaml --name finetune-more-labels --set fixed.train_size=2075 \
        --set fixed.lr_body=1e-4 --set 'space.strategy.values=[head alone, all]' --set budget.trials=6
    python -m benchmarks.finetune runs/finetune-more-labels finetune-more-labels
    python -m trainables.pretrain
    python launch.py --space benchmarks/finetune_images.yaml --name images-frozen
    python -m benchmarks.finetune runs/images-frozen finetune-images

`benchmarks.finetune` reads a ledger, prints a table, and writes raw/NAME.json and the picture of docs/finetune.md; for
the first run it also measures what an epoch costs.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from trainables import finetune
from trainables.data import loader
from trainables.data.task import read_task
from trainables.finetune import warm_up
from tuner import Trial

__all__ = ["train", "warm_up"]

STRATEGIES: dict[str, dict[str, Any]] = {
    "head alone": {"trains": 0},
    "two layers": {"trains": 2},
    "all": {},
    "all from epoch 2": {"trains": 0, "thaw_epoch": 2},
    "all, random weights": {"weights": "random"},
}
"""How many of the upper layers train; all where nothing is said."""
COLOURS = dict(zip(STRATEGIES, ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#777777"), strict=True))
RAW = Path(__file__).parent / "raw"
PICTURES = Path(__file__).parent.parent / "docs" / "pictures"


def train(
    trial: Trial,
    *,
    strategy: str,
    repeat: int,
    layers: int = 7,
    lr_head: float = 0.01,
    lr_body: float = 3e-4,
    model: str = finetune.MINILM,
    data: str = "debian-sections",
    train_size: int = 600,
    batch_size: int = 32,
) -> None:
    """Fine-tune by a strategy; `repeat` only makes one more trial of the same kind, each with a seed of its own."""
    params = dict(STRATEGIES[strategy])
    frozen = layers - params.pop("trains", layers)
    finetune.train(
        trial, lr_head=lr_head, lr_body=lr_body, frozen=frozen, model=model, data=data, train_size=train_size,
        batch_size=batch_size, **params,
    )  # fmt: skip


def curves(run: Path) -> dict[str, list[list[dict[str, float]]]]:
    """Read each strategy's trials out of a ledger: for each trial that has reported its reports, in order."""
    records = [json.loads(line.split(" ", 1)[1]) for line in (run / "ledger").read_text().splitlines()]
    params = {record["trial"]: record["params"] for record in records if record["kind"] == "suggested"}
    found: dict[str, list[list[dict[str, float]]]] = {strategy: [] for strategy in STRATEGIES}
    for trial, values in params.items():
        reports = [record for record in records if record["kind"] == "report" and record["trial"] == trial]
        if reports:  # else it failed before
            found[values["strategy"]].append([one["metrics"] for one in reports])
    return {strategy: trials for strategy, trials in found.items() if trials}


def costs(texts: int = 600, batches: int = 8) -> dict[str, float]:
    """Measure CPU-seconds of an epoch's steps for each strategy, one thread, the strategies in turn by the batch.

    CPU time, since wall time says little on a machine that is shared; without measuring on the validation split.
    """
    torch.set_num_threads(1)
    task = read_task(finetune.MINILM, "debian-sections", "text", "label", texts, 64)
    taken = dict.fromkeys(STRATEGIES, 0.0)
    models = {}
    for strategy, params in STRATEGIES.items():
        body = finetune.make_body(finetune.MINILM, "pretrained")
        models[strategy] = finetune.Classifier(body, len(task.classes), pooling="mean", dropout=0.1)
        models[strategy].freeze(0 if "thaw_epoch" in params else 7 - params.get("trains", 7))
    for number, (inputs, labels) in zip(range(-1, batches), loader(task.train, 32, shuffle=True), strict=False):
        for strategy, model in models.items():
            model.train()
            began = time.process_time()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            taken[strategy] += (time.process_time() - began) * (number >= 0)  # the first one makes kernels
            model.zero_grad()
    return {strategy: seconds / batches * (texts // 32) for strategy, seconds in taken.items()}


def table(found: dict[str, list[list[dict[str, float]]]], seconds: dict[str, float] | None) -> str:
    """Show mean and range over the trials of the last epoch's accuracy, and the CPU-seconds of an epoch."""
    lines = [
        "| trained | val_accuracy, mean | lowest to highest | val_loss | train_loss |",
        "|---" * 5 + "|",
    ]
    for strategy, trials in found.items():
        last = [trial[-1] for trial in trials]
        means = {name: mean(report[name] for report in last) for name in ("val_accuracy", "val_loss", "train_loss")}
        accuracy = [report["val_accuracy"] for report in last]
        cells = [
            strategy, f"{means['val_accuracy']:.3f}", f"{min(accuracy):.3f} to {max(accuracy):.3f}",
            f"{means['val_loss']:.2f}", f"{means['train_loss']:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if seconds:
        lines = [
            f"{line} {cell} |"
            for line, cell in zip(
                lines, ["CPU-seconds an epoch", "---", *(f"{seconds[name]:.1f}" for name in found)], strict=True
            )
        ]
    return "\n".join(lines)


def picture(found: dict[str, list[list[dict[str, float]]]]) -> str:
    """Draw the validation accuracy by epoch as SVG: the mean of a strategy's trials, and a bar from worst to best."""
    epochs = max(len(trial) for trials in found.values() for trial in trials)
    top = 0.05 * math.ceil(
        20 * max(report["val_accuracy"] for each in found.values() for one in each for report in one)
    )
    parts = [*_axes(epochs, top)]
    for number, (strategy, colour) in enumerate(COLOURS.items()):
        if not (trials := found.get(strategy)):
            continue
        points = []
        for epoch in range(max(len(trial) for trial in trials)):
            values = [trial[epoch]["val_accuracy"] for trial in trials if epoch < len(trial)]
            x, shift = _x(epoch + 1, epochs), 3 * (number - 2)
            points.append(f"{x + shift:.1f},{_y(mean(values), top):.1f}")
            ends = f'y1="{_y(min(values), top):.1f}" y2="{_y(max(values), top):.1f}"'
            parts.append(f'<line x1="{x + shift:.1f}" x2="{x + shift:.1f}" {ends} stroke="{colour}" stroke-width="2"/>')
        line = f'fill="none" stroke="{colour}" stroke-width="2"'
        parts.append(f'<polyline points="{" ".join(points)}" {line}/>')
        parts.append(f'<text x="490" y="{70 + 24 * number}" fill="{colour}">{strategy}</text>')
    body = "\n".join(parts)
    style = 'font-family="sans-serif" font-size="14"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 340" {style}>\n{body}\n</svg>\n'


def _axes(epochs: int, top: float) -> Iterator[str]:
    """Draw a white ground, lines for each tenth of accuracy, and the numbers of the epochs."""
    yield '<rect width="660" height="340" fill="white"/>'
    for tenth in range(int(top * 10 + 1e-9) + 1):
        y = _y(tenth / 10, top)
        yield f'<line x1="50" x2="470" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="42" y="{y + 5:.1f}" text-anchor="end">{tenth / 10:.1f}</text>'
    for epoch in range(1, epochs + 1):
        yield f'<text x="{_x(epoch, epochs):.1f}" y="312" text-anchor="middle">{epoch}</text>'
    yield '<text x="260" y="332" text-anchor="middle">epoch</text><text x="50" y="20">val_accuracy</text>'


def _x(epoch: int, epochs: int) -> float:
    return 50 + 420 * (epoch - 0.5) / epochs


def _y(accuracy: float, top: float) -> float:
    return 295 - 265 * accuracy / top


def main(run: Path, name: str) -> None:
    """Write the raw figures and the picture, and print the table."""
    found = curves(run)
    seconds = costs() if name == "finetune" else None
    (RAW / f"{name}.json").write_text(json.dumps({"cpu_seconds_an_epoch": seconds, "reports": found}, indent=1) + "\n")
    (PICTURES / f"{name}.svg").write_text(picture(found))
    print(table(found, seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
