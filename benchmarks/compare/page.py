"""The tables of docs/compare.md, from benchmarks/raw/compare.json; what stands around them is written by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.compare.started import COMMANDS

ROOT = Path(__file__).parents[2]
RAW, PAGE = ROOT / "benchmarks" / "raw" / "compare.json", ROOT / "docs" / "compare.md"
COLUMNS = {"ray": "plain Ray Tune", "optuna": "plain Optuna", "tuner": "here"}
Data = Mapping[str, Any]
Row = tuple[str, Callable[[Data], str]]
PART = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def write() -> None:
    """Write the page's tables anew."""
    PAGE.write_text(rendered(PAGE.read_text(), json.loads(RAW.read_text())))


def rendered(page: str, data: Data) -> str:
    """Put each table between its marks."""
    return PART.sub(lambda part: part[1] + TABLES[part[2]](data) + "\n" + part[3], page)


def told(data: Data) -> str:
    """List date, machine and versions."""
    machine = data["machine"]
    loads = [one["load"] for fault in data["faults"].values() for one in fault.values()]
    rows = [f"- {key}: {machine[key]}" for key in ("date", "hardware", "system", "versions", "commit")]
    rows += [f"- measured anew since: {what}: {when}" for what, when in data["later"].items()]
    load = f"- load of the machine: {min(loads):.1f} to {max(loads):.1f}, of which the job has two trials and a driver"
    return "\n".join([*rows, load, f"- all of it took {data['seconds']} s"])


def table(rows: Mapping[str, Callable[[str], str]]) -> str:
    """Draw a table: a row for each fact, a column for each contender."""
    lines = [f"| | {' | '.join(COLUMNS.values())} |", f"|---|{'---|' * len(COLUMNS)}"]
    return "\n".join(lines + [f"| {row} | {' | '.join(cell(who) for who in COLUMNS)} |" for row, cell in rows.items()])


def written(data: Data) -> str:
    """Tell what the user writes, types, and waits for."""
    return table(
        {
            "lines for tuning, beside the model": lambda who: str(data["lines"][who]["all"]),
            "of these only to go on after a fault": lambda who: str(data["lines"][who]["goes_on"]),
            "commands to start it": lambda who: str(len(COMMANDS[who]["first"])),
            "seconds to the first result": lambda who: first_results(data, who),
        }
    )


def first_results(data: Data, who: str) -> str:
    """Give median and range over all starts of the job."""
    seconds = [fault[who]["first_result"] for fault in data["faults"].values()]
    return f"{median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


def fault(name: str, *rows: Row) -> Callable[[Data], str]:
    """Make the table of one fault."""
    return lambda data: table({row: lambda who, cell=cell: cell(data["faults"][name][who]) for row, cell in rows})


def counted(trials: Mapping[str, int]) -> str:
    """Spell how many trials are in which state."""
    return ", ".join(f"{count} {state}" for state, count in sorted(trials.items())) or "–"


def exits(one: Data) -> str:
    """Spell the exit codes, those of a second command after an arrow."""
    return " → ".join(" and ".join(str(code) for code in end["exit"]) for end in one["ends"])


def best(one: Data) -> str:
    """Give the best value that the contender itself names, and the lowest that any epoch had."""
    return f"{number(one['best'])}, of {number(one['lowest'])}"


def number(value: float | None) -> str:
    """Spell a loss."""
    return "none" if value is None else f"{value:.4f}"


def while_full(one: Data) -> str:
    """Tell whether it lived through it."""
    return "no" if one["ended_while_full"] is None else f"yes, after {one['ended_while_full']:.0f} s"


EXIT: Row = ("exit code of each command", exits)
TRIALS: Row = ("trials at the end", lambda one: counted(one["trials"]))
SECONDS: Row = ("seconds from start to end", lambda one: " + ".join(f"{end['seconds']:.0f}" for end in one["ends"]))
EPOCHS: Row = ("epochs trained", lambda one: str(one["epochs"]))
TWICE: Row = ("of these trained before", lambda one: str(one["twice"]))
LOST: Row = ("epochs whose result is lost", lambda one: str(one["not_kept"]))
BEST: Row = ("its best loss, of the lowest of any epoch", best)
FAILED: Row = ("tracebacks printed", lambda one: " + ".join(str(end["tracebacks"]) for end in one["ends"]))
BETWEEN: Row = ("its trials right after it", lambda one: counted(one["between"]["trials"]) if "between" in one else "–")
AGAIN: Row = ("had to be started again", lambda one: "yes" if len(one["ends"]) > 1 else "no")
AFTER_NAN: Row = ("epochs trained after a trial's first NaN", lambda one: str(one["nan_epochs"] - one["nan_trials"]))
NAN_TRIALS: Row = ("trials that met NaN", lambda one: f"{one['nan_trials']} of {one['configurations']}")
TRAINED: Row = ("configurations with a result", lambda one: str(one["configurations"]))
WHILE_FULL: Row = ("ended while the disk was full", while_full)

TABLES: dict[str, Callable[[Data], str]] = {
    "told": told,
    "written": written,
    "nan": fault("nan", EXIT, NAN_TRIALS, AFTER_NAN, EPOCHS, TRIALS, BEST),
    "memory": fault("memory", EXIT, TRAINED, TRIALS, FAILED, SECONDS),
    "driver": fault("driver", EXIT, BETWEEN, TRIALS, EPOCHS, TWICE, LOST, SECONDS),
    "trial": fault("trial", EXIT, AGAIN, TRIALS, EPOCHS, TWICE, LOST),
    "disk": fault("disk", WHILE_FULL, AGAIN, EXIT, TRIALS, TWICE, LOST, FAILED),
}
