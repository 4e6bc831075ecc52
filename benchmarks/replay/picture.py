"""Draw the regret over the budget as SVG: one panel a family, lines are interquartile means, bands their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.replay.aims import AIMING, GUIDE, OWN
from benchmarks.replay.figures import Regrets, curve, iqm
from benchmarks.replay.figures import points as count
from benchmarks.replay.trace import POINTS

COLOURS = ("#7f7f7f", "#ff7f0e", "#2ca02c", "#8c564b", "#9467bd", "#bcbd22", "#e377c2", "#000000", "#d62728", "#1f77b4",
           "#17becf", "#aa3377", "#004488", "#c7c7c7", "#999933")  # fmt: skip
WIDTH, HEIGHT, LEFT, TOP = 400, 320, 50, 30
HALF = {GUIDE: "#1f77b4", OWN: "#000000", AIMING: "#d62728"}
LEAST = 1e-3
"""Where the axis of the regret ends: a regret of 0 has no logarithm."""


def draw(families: Mapping[str, Mapping[str, Regrets]], names: list[str]) -> str:
    """Draw {family: {method: its regrets}}; `names` fixes the order of the methods, and their colours."""
    colours = dict(zip(names, COLOURS[: len(names)], strict=True))
    shown = [name for name in names if any(name in methods for methods in families.values())]
    panels = [_panel(family, methods, colours) for family, methods in families.items()]
    return _frame(panels, {name: f'fill="{colours[name]}"' for name in shown})


def halves(families: Mapping[str, Mapping[str, Regrets]]) -> str:
    """Draw freeze-thaw's mean regret beside that of Ray's guide, and that of the guide at twice the budget."""
    shown = {family: methods for family, methods in families.items() if GUIDE in methods}
    panels = [_half(family, methods) for family, methods in shown.items()]
    played = {name: f'fill="{colour}"' for name, colour in HALF.items() if any(name in one for one in shown.values())}
    lines = {**played, "dashed: twice the budget": 'fill="#555"'}
    return _frame(panels, lines)


def _frame(panels: Sequence[Iterator[str]], legend: Mapping[str, str]) -> str:
    parts = ["\n".join([f'<g transform="translate({place * (WIDTH + LEFT + 20)},0)">', *panel, "</g>"])
             for place, panel in enumerate(panels)]  # fmt: skip
    edge = len(panels) * (WIDTH + LEFT + 20)
    parts += [f'<text x="{edge + 10}" y="{TOP + 10 + 20 * place}" {style}>{name}</text>'
              for place, (name, style) in enumerate(legend.items())]  # fmt: skip
    size = f'viewBox="0 0 {edge + 180} {HEIGHT + TOP + 50}"'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    style = 'font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{ground}\n' + "\n".join(parts) + "\n</svg>\n"


def _panel(family: str, methods: Mapping[str, Regrets], colours: Mapping[str, str]) -> Iterator[str]:
    last = max(POINTS[count(found) - 1] for found in methods.values())
    yield from _axes(f"{family}: regret, interquartile mean and 95 % interval", last)
    for name, found in methods.items():
        points = range(count(found))
        middle, low, high = zip(*(iqm(found, point, resamples=300) for point in points), strict=True)
        around = [*_line(low, last), *reversed(_line(high, last))]
        yield f'<polygon points="{" ".join(around)}" fill="{colours[name]}" opacity="0.15"/>'
        yield _drawn(_line(middle, last), colours[name])


def _half(family: str, methods: Mapping[str, Regrets]) -> Iterator[str]:
    last = max(POINTS[count(methods[name]) - 1] for name in HALF if name in methods)
    yield from _axes(f"{family}: regret, mean over the tasks", last)
    for name, colour in HALF.items():
        if name in methods:
            means = curve(methods[name]).tolist()
            yield _drawn(_line(means, last), colour)
            if name == GUIDE:
                twice = zip(POINTS, means, strict=False)
                dashed = [f"{_x(at / 2, last):.1f},{_y(one):.1f}" for at, one in twice if at / 2 >= POINTS[0]]
                yield _drawn(dashed, colour, ' stroke-dasharray="6 4"')


def _axes(title: str, last: float) -> Iterator[str]:
    yield f'<text x="{LEFT}" y="18">{title}</text>'
    for power in range(round(math.log10(LEAST)), 1):
        y = _y(10.0**power)
        yield f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
    for tick in (point for point in (1, 5, 10, 25, 50) if point <= last):
        yield f'<text x="{_x(tick, last):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{tick}</text>'
    yield f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">full trainings</text>'


def _drawn(points: Sequence[str], colour: str, more: str = "") -> str:
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"{more}/>'


def _line(values: Sequence[float], last: float) -> list[str]:
    return [f"{_x(POINTS[place], last):.1f},{_y(value):.1f}" for place, value in enumerate(values)]


def _x(budget: float, last: float) -> float:
    low = POINTS[0]
    return LEFT + WIDTH * math.log(budget / low) / math.log(last / low)


def _y(regret: float) -> float:
    share = math.log10(min(max(regret, LEAST), 2.0) / LEAST) / math.log10(2.0 / LEAST)
    return TOP + HEIGHT * (1 - share)
