"""Draw the regret over the budget as SVG: one panel a family, lines are interquartile means, bands their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from benchmarks.replay.figures import Regrets, iqm
from benchmarks.replay.figures import points as count
from benchmarks.replay.trace import POINTS

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
           "#000000", "#aa3377", "#004488", "#999933")  # fmt: skip
WIDTH, HEIGHT, LEFT, TOP = 400, 320, 50, 30
LEAST = 1e-3
"""Where the axis of the regret ends: a regret of 0 has no logarithm."""


def draw(families: Mapping[str, Mapping[str, Regrets]], names: list[str]) -> str:
    """Draw {family: {method: its regrets}}; `names` fixes the order of the methods, and their colours."""
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    parts: list[str] = []
    for place, (family, methods) in enumerate(families.items()):
        body = "\n".join(_panel(family, methods, colours))
        parts.append(f'<g transform="translate({place * (WIDTH + LEFT + 20)},0)">\n{body}\n</g>')
    edge = len(families) * (WIDTH + LEFT + 20)
    shown = [name for name in names if any(name in methods for methods in families.values())]
    for place, name in enumerate(shown):
        y = TOP + 10 + 20 * place
        parts.append(f'<text x="{edge + 10}" y="{y}" fill="{colours[name]}">{name}</text>')
    size = f'viewBox="0 0 {edge + 160} {HEIGHT + TOP + 50}"'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    style = 'font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{ground}\n' + "\n".join(parts) + "\n</svg>\n"


def _panel(family: str, methods: Mapping[str, Regrets], colours: Mapping[str, str]) -> Iterator[str]:
    last = max(POINTS[count(found) - 1] for found in methods.values())
    yield f'<text x="{LEFT}" y="18">{family}: regret, interquartile mean and 95 % interval</text>'
    for power in range(round(math.log10(LEAST)), 1):
        y = _y(10.0**power)
        yield f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
    for tick in (point for point in (1, 5, 10, 25, 50) if point <= last):
        yield f'<text x="{_x(tick, last):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{tick}</text>'
    yield f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">full trainings</text>'
    for name, found in methods.items():
        points = range(count(found))
        middle, low, high = zip(*(iqm(found, point, resamples=300) for point in points), strict=True)
        around = [*_line(low, last), *reversed(_line(high, last))]
        yield f'<polygon points="{" ".join(around)}" fill="{colours[name]}" opacity="0.15"/>'
        line = f'fill="none" stroke="{colours[name]}" stroke-width="2"'
        yield f'<polyline points="{" ".join(_line(middle, last))}" {line}/>'


def _line(values: tuple[float, ...], last: float) -> list[str]:
    return [f"{_x(POINTS[place], last):.1f},{_y(value):.1f}" for place, value in enumerate(values)]


def _x(budget: float, last: float) -> float:
    low = POINTS[0]
    return LEFT + WIDTH * math.log(budget / low) / math.log(last / low)


def _y(regret: float) -> float:
    share = math.log10(min(max(regret, LEAST), 2.0) / LEAST) / math.log10(2.0 / LEAST)
    return TOP + HEIGHT * (1 - share)
