"""The best model in the formats of others, written by a process of its own: the driver does not import torch."""

from __future__ import annotations

import json
from pathlib import Path

from tuner.core.state import RunState
from tuner.engine.evaluate import Model, known, measure, stint
from tuner.slot.code import Code
from tuner.storage import BEST, write_whole

RESULT = Path(BEST) / "formats.json"


def write_formats(folder: Path, run: RunState, model: Model, code: Code, zygote: str | None = None) -> list[str]:
    """Write them into `best/`, if the best trial tracks models; tells what went wrong.

    `zygote` is the address of a shared one that has imported `code`.
    """
    best = model.best
    if known(folder / RESULT, best) or "module" not in model.manifest.get("kinds", {}).values():
        return []
    event = measure(code, stint(folder, run, best, "take"), zygote, run.spec.watchdog.patience(run.slowest))
    if event["event"] != "taken":
        return [str(event["reason"])]
    facts = {"trial": best.trial, "epoch": best.epoch, "checkpoint": best.checkpoint}
    facts |= {name: event[name] for name in ("written", "problems")}
    write_whole(folder / RESULT, json.dumps(facts, indent=2) + "\n")
    return [f"{name}: {problem}" for name, problem in event["problems"].items()]
