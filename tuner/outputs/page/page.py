"""The page of one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tuner.core import epochs
from tuner.outputs import confirmed
from tuner.outputs.best import read_test
from tuner.outputs.front import nothing
from tuner.outputs.grid import duration
from tuner.outputs.page import ends, fresh, front, population, progress, searched, setup, used, workers
from tuner.outputs.page.history import History
from tuner.outputs.page.html import document, guarded, number, paragraph, table, text, tiles
from tuner.outputs.results import summary

SECTIONS: tuple[tuple[str, str, Callable[[History], str]], ...] = (
    ("Best so far", "best", progress.best_so_far),
    ("Pareto front", "front", front.front),
    ("On fresh seeds", "seeds", fresh.seeds),
    ("Learning curves", "curves", progress.curves),
    ("Parallel coordinates", "parallel", searched.parallel),
    ("Importance", "importance", searched.importance),
    ("Slices", "slices", searched.slices),
    ("Population", "population", population.population),
    ("What was stopped, and why", "stopped", ends.stopped),
    ("Failures", "failures", ends.failures),
    ("Workers", "workers", workers.timeline),
    ("Memory, GPUs and disk", "used", used.used),
    ("All trials", "trials", setup.trials),
    ("Params", "params", setup.space),
    ("Repeat it", "repeat", setup.repeat),
)
"""Title, anchor, and what makes it."""


def page(history: History) -> str:
    """Make the page."""
    spec = history.run.spec
    has = {
        "population": spec.scheduler.kind == "pbt",
        "seeds": spec.confirm is not None,
        "front": len(spec.objectives) > 1,
    }
    parts = [part for part in SECTIONS if has.get(part[1], True)]
    sections = [(title, anchor, guarded(partial(make, history))) for title, anchor, make in parts]
    return document(f"{history.run.name}: report", header(history), sections)


def header(history: History) -> str:
    """Say what this run is, how it stands, and what it found."""
    run, spec = history.run, history.run.spec
    facts = summary(run, "")
    made = f"<h1>{text(run.name)}</h1>" + paragraph(
        f"{text(spec.trainable)}, {text(spec.goal)}; search {text(spec.search.kind)}, "
        f"scheduler {text(spec.scheduler.kind)}, seed {spec.seed}. {text(_state(history))}",
        "faint",
    )
    counted = ", ".join(f"{count} {outcome}" for outcome, count in facts["trials"].items() if count)
    again = f", {epochs.of_repeats(run)} of them on fresh seeds" if run.repeats else ""
    shown = [("trials", str(len(run.trials))), ("epochs trained", f"{facts['epochs']}{again}")]
    shown += [("time driven", duration(run.elapsed)), ("trials at once", str(run.slots))]
    best = run.best
    if best is not None:
        of_search = " of the search" if run.repeats else ""
        shown = [
            (f"best {history.metric}{of_search}", f"{best.value:.6g}"),
            ("by", f"{best.trial}, epoch {best.epoch}"),
            *shown,
        ]
    made += tiles(shown) + paragraph(f"Trials: {text(counted or 'none yet')}.")
    if best is None:
        return made + paragraph(text(nothing(run)))
    rows = confirmed.confirmed(run)
    if rows:
        made += paragraph(f"{text(confirmed.head(run, rows))}.")
    if test := read_test(history.folder, run.chosen):
        said = ", ".join(f"{name} {number(value)}" for name, value in test.items())
        made += paragraph(f"On the test split: {text(said)}.")
    won = run.trials[rows[0].trial] if rows and rows[0].won else None
    params = [[name, setup.shown(value)] for name, value in (won or best).params.items()]
    return made + table(["param of the confirmed winner" if won else "param of the best", "value"], params)


def _state(history: History) -> str:
    run = history.run
    made = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if run.finished():
        why = {"target": "its target was reached", "hours": "its hours were over", "asked": "the user stopped it"}
        return f"The run is over{f': {why[run.closed]}' if run.closed else ''}. Made {made}."
    trials = list(run.trials.values())
    if confirming := confirmed.progress(run):
        return f"The search is over, the run is not: {confirming}. Made {made}."
    going = sum(trial.status in ("running", "paused") for trial in trials)
    left = run.spec.trials - len(trials)
    return f"The run is not over: {going} trials run or wait to go on, at most {left} are to come. Made {made}."
