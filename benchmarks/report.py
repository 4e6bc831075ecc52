"""Write OVERHEAD.md from the kept figures."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.contenders import NAMES

Result = dict[str, Any]
Round = dict[str, Result]
ABOUT = {
    "bare": "bare PyTorch loops in two processes over the configs and epochs that (e) ran in the same round",
    "guide": "Ray Tune + Optuna as Ray's guide stands",
    "reuse": "the same with `reuse_actors=True`",
    "optuna": "two plain Optuna processes, a shared journal file, successive halving",
    "tuner": "this service: checkpoints, ledger and TensorBoard on",
}
MIB = 2**20
FIGURES: tuple[tuple[str, Callable[[Result], float | None], str], ...] = (
    ("epochs", lambda one: one["epochs"], ".0f"),
    ("trials", lambda one: one["trials"], ".0f"),
    ("epochs a second, from the first result on", lambda one: one["rate"], ".2f"),
    ("the same, until the last trial began (no tail)", lambda one: one["rate_busy"], ".2f"),
    ("share of the cores' time inside epochs, from first to last result", lambda one: one["share"], ".3f"),
    ("the same, until the last trial began (no tail)", lambda one: one["share_busy"], ".3f"),
    ("epochs a second, start included, to the last result", lambda one: one["rate_with_start"], ".2f"),
    ("epochs a second, start included, to the exit", lambda one: one["rate_to_exit"], ".2f"),
    ("start to first result, s", lambda one: one["first_result"], ".1f"),
    ("start to exit, s", lambda one: one["seconds"], ".1f"),
    ("one epoch, median, s", lambda one: one["epoch_seconds"], ".3f"),
    ("gap between epochs of a trial, median, ms", lambda one: _milli(one["gap_epochs"]), ".1f"),
    ("gap at a change of trials on a worker, median, ms", lambda one: _milli(one["gap_trials"]), ".1f"),
    ("share of the cores' time in the gaps between epochs", lambda one: one["lost_epochs"], ".3f"),
    ("share of the cores' time in changes of trials", lambda one: one["lost_trials"], ".3f"),
    (
        "the rest: tail, starts of workers, waiting",
        lambda one: 1 - one["share"] - one["lost_epochs"] - one["lost_trials"],
        ".3f",
    ),
    ("memory of the driver, MiB", lambda one: one["driver_memory"] / MIB, ".0f"),
    ("CPU of the driver, s", lambda one: one["cpu"].get("driver"), ".1f"),
    ("CPU of Ray's daemons, s", lambda one: one["cpu"].get("daemons"), ".1f"),
    ("CPU of the workers, s (short-lived ones are missed in part)", lambda one: one["cpu"].get("workers"), ".1f"),
)
# What is compared, in which figure, this service over whom, on which side of which target.
TARGETS: tuple[tuple[str, str, str, str, float], ...] = (
    ("share of the cores' time inside epochs, (e) / (a)", "share", "bare", ">=", 0.95),
    ("share of the cores' time without the tail, (e) / (a)", "share_busy", "bare", ">=", 0.95),
    ("share of the cores' time inside epochs, (e) / (c)", "share", "reuse", ">", 1.0),
    ("share of the cores' time without the tail, (e) / (c)", "share_busy", "reuse", ">", 1.0),
    ("epochs a second from the first result on, (e) / (a)", "rate", "bare", ">=", 0.9),
    ("epochs a second without the tail, (e) / (a)", "rate_busy", "bare", ">=", 0.9),
    ("epochs a second from the first result on, (e) / (b)", "rate", "guide", ">=", 3.5),
    ("epochs a second with the start, (e) / (c)", "rate_with_start", "reuse", ">=", 1.0),
    ("epochs a second with the start, (e) / (d)", "rate_with_start", "optuna", ">=", 1.3),
    ("start to first result, (e) / (c)", "first_result", "reuse", "<=", 1.0),
    ("memory of the driver, (e) / (c)", "driver_memory", "reuse", "<=", 1.0),
)
RATES: tuple[tuple[str, str, str, float], ...] = (
    ("reports a second from 2 trials, ledger on", "reports", ">=", 500),
    ("one-report trials a second, 200, random search", "random_200", ">=", 25),
    ("one-report trials a second, 2,000, random search", "random_2000", ">=", 25),
    ("rate at 2,000 / rate at 200", "random_ratio", ">=", 0.8),
    ("one-report trials a second, 2,000, TPE", "tpe_2000", ">=", 15),
)
METHOD = """
Where the time goes, and what did not help: [LOG.md](LOG.md).

## How to read it
- An epoch's seconds run from the start of its work to its report, by one clock for all contenders
  (`peers/shim.py`, `peers/timed.py`); checkpoints, reports, set-up of model and data lie outside. They are wall-clock
  seconds: where a driver takes a core from a worker, epochs get longer, and the loss shows in epochs a second, not in
  the share.
- The space holds no parameter that changes the cost of an epoch. How many epochs successive halving grants differs by
  contender, since which of the first trials reports first changes what it does: so rates are compared, not total times.
- (a) repeats the trials of (e) of its own round, first come first served by two processes. The tail, when one worker
  finds no more trials, is in all figures but those marked; in (b) a worker serves one trial, so it has no change.
- Ratios are taken within a round, by runs made in turn in a rotated order; their median is held against the target.
- Memory is VmHWM of the driver's process (in (a) and (d) the parent of the two, which only waits). CPU is read twice
  a second from /proc, so a process's last half second is missed.
"""


def page(data: dict[str, Any], rates: dict[str, Any]) -> str:
    """Write the whole page."""
    rounds = [{name: one for name, one in each.items() if "rate" in one} for each in data.get("rounds", [])]
    machine = data.get("machine") or rates.get("machine", {})
    parts = [
        "# What this service costs, side by side\n\nWritten by `benchmarks/overhead.py`; raw figures in `raw/`.\n",
        "\n".join(f"- {key}: {value}" for key, value in machine.items()),
        f"- rounds: {len(rounds)}\n",
        "## Targets\n",
        _targets(rounds, rates),
        "## Medians over the rounds\n",
        _medians(rounds),
        "## Contenders and their commands\n",
        _commands(data.get("rounds", [])),
        _failures(data.get("rounds", [])),
        METHOD,
    ]
    return "\n".join(parts)


def _targets(rounds: list[Round], rates: dict[str, Any]) -> str:
    lines = ["| figure | each round | median | target | reached |", "|---|---|---|---|---|"]
    for about, key, peer, side, target in TARGETS:
        ratios = [one["tuner"][key] / one[peer][key] for one in rounds if {"tuner", peer} <= one.keys()]
        lines.append(_target(about, ratios, side, target, ".3f"))
    changes = [_milli(one["tuner"]["gap_trials"]) for one in rounds if "tuner" in one]
    lines.append(_target("change of trials, ResNet, median, ms", [one for one in changes if one], "<", 60, ".1f"))
    for about, key, side, target in RATES:
        lines.append(_target(about, rates.get("figures", {}).get(key, []), side, target, ".2f"))
    return "\n".join(lines) + "\n" + _rates_note(rates)


def _target(about: str, values: list[float], side: str, target: float, form: str) -> str:
    if not values:
        return f"| {about} | not measured | | {side} {target:g} | |"
    middle = median(values)
    reached = {">=": middle >= target, ">": middle > target, "<=": middle <= target, "<": middle < target}[side]
    each = ", ".join(format(one, form) for one in values)
    return f"| {about} | {each} | {middle:{form}} | {side} {target:g} | {'yes' if reached else '**missed**'} |"


def _rates_note(rates: dict[str, Any]) -> str:
    if not rates:
        return "\nThe last rows are measured by `python -m benchmarks.rates`.\n"
    commands = "\n".join(f"    {shlex.join(one)}" for one in rates["commands"])
    return f"\nThe last rows are from `python -m benchmarks.rates` ({rates['machine']['date']}):\n\n{commands}\n"


def _medians(rounds: list[Round]) -> str:
    names = [name for name in sorted(NAMES, key=NAMES.__getitem__) if any(name in one for one in rounds)]
    lines = ["| | " + " | ".join(f"({NAMES[name]}) {name}" for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for about, read, form in FIGURES:
        cells = [_cell([read(one[name]) for one in rounds if name in one], form) for name in names]
        lines.append(f"| {about} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: list[float | None], form: str) -> str:
    known = [one for one in values if one is not None]
    return format(median(known), form) if known else "-"


def _commands(rounds: list[Round]) -> str:
    lines = []
    for name in sorted(NAMES, key=NAMES.__getitem__):
        commands = [one[name]["command"] for one in rounds if name in one]
        if commands:
            lines.append(f"- ({NAMES[name]}) {ABOUT[name]}: `python {shlex.join(commands[-1][1:])}`")
    return "\n".join(lines) + "\n\nAll with `OMP_NUM_THREADS=1`, Ray's dashboard off and its usage reports off.\n"


def _failures(rounds: list[Round]) -> str:
    lines = [
        f"- round {place}, ({NAMES[name]}) {name}: exit {one['exit']}, {one['killed_after']} killed after it"
        for place, each in enumerate(rounds)
        for name, one in each.items()
        if one["exit"] or one["killed_after"]
    ]
    return "\n".join(["Runs that did not end cleanly:", *lines]) + "\n" if lines else ""


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
