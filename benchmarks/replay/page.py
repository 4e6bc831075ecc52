"""Write SEARCH.md and its pictures from the kept cells."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.replay import aims, figures, picture, remains
from benchmarks.replay.aims import AIMING, AIMS, CHANCE, GUIDE
from benchmarks.replay.cells import kept
from benchmarks.replay.figures import SHOWN, Line, Regrets
from benchmarks.replay.methods import METHODS
from benchmarks.replay.place import HERE, KEPT, RAW, Place
from benchmarks.replay.trace import POINTS, WORKERS

Groups = dict[str, dict[str, list[Line]]]
"""Family → method → cells."""
LOG, HEADING = HERE / "LOG.md", "## Search on recorded curves"
TERMS = """
± is the standard error over seeds. The aims belong to the line that chooses among the table's own configs; the other
line draws its candidates and takes the nearest config that is left. How many runs there are of a method: "tasks ×
seeds" below.
"""
CHOSEN = """What freeze-thaw is was chosen by these very tasks, for the most part by their first seeds: other curves are
yet to say how much of it is theirs. Real training by which nothing of it was chosen, in a space of choices and
conditions, is in [auto.md](../docs/search/auto.md#measured). An epoch takes 1 of the virtual clock; with the seconds
that LCBench tells (`--seconds`) nothing was played.
"""
HALF = """![Half the budget]({picture})

The mean over the tasks, on which "trainings for what Ray's guide has" goes: what lies below the dashed line has found
as much as the guide with at most half the budget.
"""
SMOOTH = """
- Families that end with `-smooth` are the recorded tables with a thin-plate spline between their configs: a config has
  the curve that was recorded, and what is suggested runs as itself. Nothing there is better than the table's best, and
  fewer configs diverge than in the table (of IRNN64's 10 % for 25 %)."""
METHOD = """
## How it was done
- The curves are other people's: TaskSet's from runs that took place, LCBench's from a surrogate (`YAHPO`). Config and
  curve are the table's; a suggestion runs as the nearest config that has not run yet (each param scaled to 0–1, on a
  log axis where the table has one), for every method alike. A method with `-table` in its name is given the table's
  configs to choose among. What a method remembers of a trial is the table's params where it can be told: this service's
  core has them in its records, Syne Tune in its trials. Optuna keeps what it suggested: alone, below Ray, below `tpe`.
- A table has 1,000 configs. What searches near the best it knows soon finds the neighbours there taken, and runs as
  ever farther ones: `auto` meets nearly all of TaskSet's before its budget is used, and its model goes on expecting
  much of places that no config is near. With candidates from the table that cannot happen, nor outside of tables.
- The misleading curves are drawn by formulas, so there a suggestion runs as itself. A table of 1,000 random configs
  says what is good, and is what `auto-table` chooses among; what is better than its best counts as that.{smooth}
- Regret = (best value seen at any epoch − best of the table) / (the median config's best − best of the table). A
  config's best is over all its epochs before it diverged; what an untrained model has does not count.
- Budget: epochs of all workers together / epochs of one training. Eight asynchronous workers on a virtual clock, an
  epoch takes 1 of it{seconds}. Deciding takes no time on that clock.
- A trial whose value is NaN ends. This service's core hears of the NaN; no peer bears one, so each is told the worst
  value seen so far, or an untrained model's, and that the trial ended: that is kinder than what they do with it (Ray's
  ASHA never stops such a trial, its OptunaSearch leaves it open for ever).
- The interquartile mean is over all runs of all tasks; its interval is from {resamples} bootstrap samples, seeds drawn
  anew within each task. The mean is over tasks, with its standard error over seeds.
- CPU is process time inside the method, this service's core or the peer's searcher and scheduler, and nothing else.
"""
LEFT_OUT = """
Not among the peers: NePS 0.17 (`neural-pipeline-search`), whose ifBO fetches its network from figshare, which cannot be
reached from here, and which needs torchvision, of which PyPI has no build for CPUs alone; Syne Tune's MOBSTER and
Hyper-Tune, which 0.16 has no longer, and its ASHABORE (see below).
"""
SECONDS = "; in the tables that say so, the table's seconds"


def write(at: Place = KEPT) -> None:
    """Write the report and its pictures."""
    for file, text in render(at).items():
        file.write_text(text)


def render(at: Place = KEPT) -> dict[Path, str]:
    """Give the report and its pictures, by their files."""
    played = groups(at.cells)
    families = regrets(played)
    recorded = aims.recorded(families)
    parts = ["# What the searches find, on other people's curves", "",
             f"Written by `benchmarks/search.py`; each run's figures are in `{_from(at, at.cells)}/`.", "",
             f"![Regret over the budget]({_from(at, at.picture)})", "",
             _aims(families, played, AIMS if at == KEPT else {})]  # fmt: skip
    parts += [CHOSEN if at == KEPT else ""]
    if any(GUIDE in methods for methods in recorded.values()):
        parts += [HALF.format(picture=_from(at, at.halves))]
    for family, found in families.items():
        parts += [f"## {family}", "", _iqms(found), _means(found), _budgets(found), _tasks(found)]
        parts += [_costs({name: played[family][name] for name in found}), _remains(played[family])]
    with_seconds = any("by seconds" in family for family in families)
    smooth = SMOOTH if any(family.endswith("-smooth") for family in families) else ""
    parts += [METHOD.format(seconds=SECONDS if with_seconds else "", smooth=smooth, resamples=figures.RESAMPLES)]
    parts += [_methods(at.cells), _log(_from(at, LOG))]
    drawn, halves = picture.draw(families, list(METHODS)), picture.halves(recorded)
    return {at.report: "\n".join(parts), at.picture: drawn, at.halves: halves}


def _from(at: Place, file: Path) -> str:
    return Path(os.path.relpath(file, at.report.parent)).as_posix()


def regrets(groups: Groups) -> dict[str, dict[str, Regrets]]:
    """Gather the regrets: family → method → regrets, in the order of the methods."""
    found = {
        family: {name: seen for name in METHODS if (seen := figures.regrets(methods.get(name, [])))}
        for family, methods in sorted(groups.items())
    }
    return {family: methods for family, methods in found.items() if methods}


def groups(folder: Path = RAW) -> Groups:
    """Read what was played; what was not by the usual terms is a family of its own."""
    found: Groups = defaultdict(lambda: defaultdict(list))
    for line in kept(folder):
        terms = " by seconds" if line["seconds"] else ""
        terms += "" if line["workers"] == WORKERS else f" with {line['workers']} workers"
        found[line["family"] + terms][line["method"]].append(line)
    return found


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _iqms(found: dict[str, Regrets]) -> str:
    rows = [
        [f"`{name}`", *_each("{:.3f} ({:.3f} to {:.3f})", figures.iqm, one), _seeds(one)] for name, one in found.items()
    ]
    head = ["interquartile mean at", *(f"{budget} full trainings" for budget in SHOWN), "tasks × seeds"]
    return _table(head, rows)


def _each(form: str, figure: Callable[[Regrets, int], tuple[float, ...]], one: Regrets) -> list[str]:
    """Show a figure at each budget that a method got to."""
    places = [POINTS.index(budget) for budget in SHOWN]
    told = [form.format(*figure(one, place)) if place < figures.points(one) else "–" for place in places]
    return [text.removesuffix(" ± nan") for text in told]  # of one seed there is no error


def _seeds(found: Regrets) -> str:
    counts = {len(rows) for rows in found.values()}
    return f"{len(found)} × {min(counts)}" + (f" to {max(counts)}" if len(counts) > 1 else "")


def _means(found: dict[str, Regrets]) -> str:
    rows = [[f"`{name}`", *_each("{:.4f} ± {:.4f}", figures.mean, one)] for name, one in found.items()]
    return _table(["mean over tasks at", *map(str, SHOWN)], rows)


def _budgets(found: dict[str, Regrets]) -> str:
    """Tell which budget each method needs for what Ray's guide has at the budgets that are shown."""
    if GUIDE not in found:
        return ""
    curves = {name: figures.curve(one) for name, one in found.items()}
    shown = [budget for budget in SHOWN if POINTS.index(budget) < len(curves[GUIDE])]
    rows = []
    for name, curve in curves.items():
        budgets = [figures.needed(curve, curves[GUIDE][POINTS.index(budget)]) for budget in shown]
        rows.append([f"`{name}`", *("more" if budget is None else f"{budget:g}" for budget in budgets)])
    return _table(["full trainings for the mean regret that Ray's guide has at", *map(str, shown)], rows)


def _tasks(found: dict[str, Regrets]) -> str:
    """Show each task at 25 full trainings, and mark what is worse than random there."""
    point = POINTS.index(25)
    found = {name: one for name, one in found.items() if point < figures.points(one)}
    if not found:
        return ""
    rows = []
    for task in sorted({task for one in found.values() for task in one}):
        cells = []
        for one in found.values():
            text = f"{one[task][:, point].mean():.3f}" if task in one else ""
            chance = found.get(CHANCE, {}).get(task)
            is_worse = text and chance is not None and figures.worse(one[task], chance, point)
            cells.append(f"**{text}**" if is_worse else text)
        rows.append([task, *cells])
    note = "Mean over seeds at 25 full trainings; bold where it is worse than `random` by two standard errors.\n"
    return note + "\n" + _table(["task", *(f"`{name}`" for name in found)], rows)


def _costs(methods: dict[str, list[Line]]) -> str:
    rows = []
    for name, lines in methods.items():
        suggestion, decision, count, idle = figures.cost(lines)
        rows.append([f"`{name}`", f"{suggestion:.1f}", f"{decision:.1f}", f"{count:.0f}", f"{100 * idle:.1f} %"])
    head = ["", "CPU a suggestion, ms", "CPU an answer to a free worker, ms", "suggestions a run", "workers idle"]
    return _table(head, rows)


def _remains(methods: dict[str, list[Line]]) -> str:
    """Tell where the regret comes from, and which tasks have most of what freeze-thaw leaves."""
    rows = remains.rows({name: methods[name] for name in METHODS if name in methods})
    tasks = remains.tasks(AIMING, methods.get(AIMING, []))
    return "\n".join([remains.TEXT, _table(remains.HEAD, rows), tasks]) if rows else ""


def _aims(families: dict[str, dict[str, Regrets]], played: Groups, known: Mapping[tuple[str, int], float]) -> str:
    """Hold what was reached against what was aimed at."""
    rows = [[figure, seen, aim, "" if reached is None else "yes" if reached else "**missed**"]
            for figure, seen, aim, reached in [*aims.rows(families, known), *aims.costs(played)]]  # fmt: skip
    return "## Aims\n\n" + _table(["figure", "seen", "aim", "reached"], rows) + TERMS


def _methods(folder: Path) -> str:
    """Say what each method is, and when, where, with what and by which command it was run."""
    file = folder / "about.json"
    about = json.loads(file.read_text()) if file.exists() else {}
    parts = ["## Methods", ""]
    for name, method in METHODS.items():
        if not (times := about.get(name)):
            parts.append(f"- `{name}`: {method.about}. Not run: {method.missing() or 'no cell is kept'}.")
            continue
        when = "; ".join(f"{one['date']}, commit {one['commit']}" for one in times)
        parts.append(f"- `{name}`: {method.about}. {times[-1]['packages']}; {when}.")
    for key in ("hardware", "system", "command"):
        values = dict.fromkeys(one[key] for times in about.values() for one in times)
        parts.append(f"- {key}: " + "; ".join(f"`{one}`" if key == "command" else one for one in values))
    return "\n".join([*parts, LEFT_OUT])


def _log(link: str) -> str:
    """Copy what did not work from the log of negative results."""
    _, _, after = LOG.read_text().partition(HEADING)
    text = after.partition("\n## ")[0].partition("|")
    rows = "".join(text[1:]).strip()
    return f"## What did not work\n\nFrom [LOG.md]({link}):\n\n{rows or 'Nothing is noted yet.'}\n"
