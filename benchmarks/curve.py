"""Write SCALING.md from the kept figures, and the estimate for more live trials than this machine holds."""

from __future__ import annotations

import shlex
from statistics import median
from typing import Any

import numpy as np

from tuner.engine.assign import beat

MANY = 1000
PACES = (1.0, 5.0, 60.0)
"""Seconds of an epoch for which the estimate is made."""


def page(data: dict[str, Any]) -> str:
    """Write the whole page."""
    parts = ["# How a run scales\n\nWritten by `benchmarks/scaling.py`; raw figures in `raw/scaling.json`.\n"]
    if "nodes" in data:
        parts += ["## Over logical nodes\n", _about(data["nodes"]), _nodes(data["nodes"]["rounds"]), NODES]
    if "live" in data:
        found = data["live"]["found"]
        parts += ["## With many live trials\n", _about(data["live"]), _live(found), LIVE, _estimate(found)]
    return "\n".join(parts)


def _about(part: dict[str, Any]) -> str:
    lines = [f"- {key}: {value}" for key, value in part["machine"].items()]
    return "\n".join([*lines, f"- command, on each cluster: `{shlex.join(part['command'])}`", ""])


def _nodes(rounds: list[list[dict[str, Any]]]) -> str:
    lines = [
        "| nodes | epochs a second, each round | median | speed-up, each round | median | of the workers alone "
        "| start to first report, s | driver's CPU a report, ms |",
        "|---" * 8 + "|",
    ]
    for place, first in enumerate(rounds[0]):
        ones = [turn[place] for turn in rounds]
        rates = [one["rate"] for one in ones]
        gains = [one["rate"] / turn[0]["rate"] for one, turn in zip(ones, rounds, strict=True)]
        own = [one["rate_of_workers"] / turn[0]["rate_of_workers"] for one, turn in zip(ones, rounds, strict=True)]
        cells = [
            str(first["nodes"]), _each(rates), f"{median(rates):.2f}", _each(gains), f"{median(gains):.2f}",
            f"{median(own):.2f}", f"{median(one['first_report'] for one in ones):.1f}",
            f"{median(one['cpu_a_report'] for one in ones) * 1000:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _each(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _live(found: list[dict[str, Any]]) -> str:
    lines = [
        "| live trials | seconds an epoch | reports a second | driver, share of a core | its main thread "
        "| CPU a report, ms | a live trial and second, ms | report to record, median and 95 %, s "
        "| memory of the driver, MiB | a live trial (worker + zygote + process), MiB |",
        "|---" * 10 + "|",
    ]
    for one in found:
        delays = "-" if one["delay"] is None else f"{one['delay']:.2f}, {one['delay_95']:.2f}"
        cells = [
            str(one["live"]), f"{one['pace']:g}", f"{one['reports_a_second']:.1f}", f"{one['share']:.3f}",
            f"{one['share_main_thread']:.3f}", f"{one['cpu_a_report'] * 1000:.2f}",
            f"{one['share'] / one['live'] * 1000:.2f}", delays, f"{one['driver_memory']:.0f}",
            " + ".join(f"{value:.0f}" for value in one["memory"].values()),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def words(live: int) -> float:
    """Count how often a second that many workers speak to the driver, where no trial waits for an answer."""
    return live / beat(live)


def fit(found: list[dict[str, Any]], key: str) -> list[float]:
    """Fit share = a + b * words a second + c * words a second * live + d * reports a second; none is below zero."""
    from scipy.optimize import nnls

    rows = [_terms(one["live"], one["reports_a_second"]) for one in found]
    weights = np.array([1 / one[key] for one in found])  # as relative errors
    solved, _ = nnls(np.array(rows) * weights[:, None], np.ones(len(found)))
    return [float(value) for value in solved]


def _terms(live: int, reports: float) -> list[float]:
    return [1.0, words(live), words(live) * live, reports]


def _estimate(found: list[dict[str, Any]]) -> str:
    whole, main = fit(found, "share"), fit(found, "share_main_thread")
    lives = [one["live"] for one in found]
    trial = sum(found[-1]["memory"].values())
    return "\n".join(
        [
            f"## {MANY:,} live trials: an estimate\n",
            f"Nothing was measured beyond {max(lives)} live trials: {MANY:,} would take {MANY * trial / 1024:.0f} GiB. "
            "The driver's share of a core is fitted (least squares of relative errors, no coefficient below zero) as\n",
            f"    share = {whole[0]:.4f} + {whole[1]:.6f} w + {whole[2]:.3g} w n + {whole[3]:.6f} r\n",
            "with n live trials, w words a second (one a beat of each worker) and r reports a second; "
            f"{_misfit(found, whole)}. For n = {MANY:,}:\n",
            *_many(whole, main),
            f"\nMemory of the driver, by a straight line through the same runs: {_line(found):.0f} MiB, "
            "beside what its records take: each report is kept.\n",
            ESTIMATE,
        ]
    )


def _many(whole: list[float], main: list[float]) -> list[str]:
    lines = [
        "| seconds an epoch | a beat, s | words a second | reports a second | driver, share of a core "
        "| its main thread |",
        "|---" * 6 + "|",
    ]
    for seconds in (beat(MANY), 1.0):
        for pace in PACES:
            terms = [1.0, MANY / seconds, MANY / seconds * MANY, MANY / pace]
            shares = [float(np.dot(terms, one)) for one in (whole, main)]
            cells = [
                f"{pace:g}",
                f"{seconds:g}",
                f"{terms[1]:.0f}",
                f"{terms[3]:.0f}",
                *(f"{one:.2f}" for one in shares),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _line(found: list[dict[str, Any]]) -> float:
    slope, level = np.polyfit([one["live"] for one in found], [one["driver_memory"] for one in found], 1)
    return float(level + slope * MANY)


def _misfit(found: list[dict[str, Any]], solved: list[float]) -> str:
    misses = [abs(np.dot(_terms(one["live"], one["reports_a_second"]), solved) / one["share"] - 1) for one in found]
    return f"it misses the measured shares by {max(misses):.0%} at most"


NODES = """
The same trials on each number of nodes, one CPU each; a trial sleeps. Speed-up is epochs a second, from the first
report of a run to its last, against one node of the same round (each worker's first report begins its count), by the
trials' own clock. Of the workers alone: each one's rate from its own first report to its own last, added up. The
difference is the start of the workers one after the other, as 8 nodes share two cores here, and the tail where the
first have no more trials.
"""
LIVE = """
One run for each number of live trials, on one logical node with as many CPUs; each trial reports and does nothing
else. CPU is that of the driver's process alone, read from /proc around windows of 45 s. A worker speaks to the driver
once a beat, with all reports since (a beat is a second, and longer where more than a hundred trials run), and at once
where its trial waits for a decision: so a report on which nothing can be decided is recorded up to a beat later.
Memory is PSS.
"""
ESTIMATE = """
The main thread decides, and it is one: where its share comes to 1, the driver does not keep up, and reports are
recorded later, more of them at a time. The rows with a beat of one second say what it would be if each worker spoke
once a second however many there are (`tuner/engine/assign.py`).

What grows with the live trials in each word (the third coefficient) is Ray Tune's loop: at each turn it shuffles, and
waits on, one future for each of them; alone that takes 0.6 microseconds of CPU for each (LOG.md). The fit tells the
second and the third coefficient apart only roughly, as no run here has more than one word a second and worker.

What is left out: Ray's own daemons on the head, a network, a disk that syncs slowly, changes of trials, a search that
is not random, and rules that make trials wait for an answer: there each report is a word of its own, at once.
"""
