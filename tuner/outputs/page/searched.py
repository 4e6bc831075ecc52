"""What the search found out about the params, by Optuna's own plots over a study that is built from the ledger.

Trials that were stopped early count, each with its best value: to Optuna all of them are complete.
"""

from __future__ import annotations

import json
import logging
import math
import warnings
from ast import literal_eval
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState, create_trial
from optuna.visualization import plot_parallel_coordinate, plot_param_importances, plot_slice
from plotly.colors import sample_colorscale

from tuner.core.records import trial_number
from tuner.core.search.earlier import distribution
from tuner.outputs.page.history import History
from tuner.outputs.page.html import SCALE, Figure, paragraph, plot, text
from tuner.outputs.results import Row
from tuner.spec.space import Choice, Float, Int

if TYPE_CHECKING:
    from optuna.importance import BaseImportanceEvaluator

MOST_LINES = 300
MOST_POINTS = 2000
TREES, DEPTH = 16, 8
"""Of fANOVA's forest: four times as many and deeper, as by default, take half a minute for 500 trials."""
FEWEST = 10
"""With fewer trials nothing is said of importance."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from talking, and leave its logger and the warnings of a notebook's process as they were."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        logger.setLevel(level)


def valued(history: History) -> list[Row]:
    """List the trials that have a finite value, in the order in which they were suggested."""
    return sorted((row for row in history.rows if row.value is not None), key=lambda row: trial_number(row.trial))


@quiet()
def parallel(history: History) -> str:
    """Draw a line for each trial through all of its params."""
    rows = valued(history)
    if len(rows) < 2:
        return paragraph(f"{_count(len(rows))} a finite value; lines begin to tell something with the second.")
    rows = [row for row in history.rows if row.value is not None][:MOST_LINES]
    figure = plain(plot_parallel_coordinate(_study(history, rows), target_name=text(history.metric)))
    axes = len(figure["layout"]["xaxis"]["tickvals"])
    says = f"A line for each trial, from its best {history.metric} through its params, the better the more orange."
    says += f" {_counted(history)}"
    conditional = [name for name, dimension in history.run.spec.space.items() if dimension.when]
    says += f" A trial that has no {' or '.join(conditional[:3])} is at None there." if conditional else ""
    says += _left_out(history, len(rows), f"Only the best {len(rows)} are drawn.")
    _mend_lines(figure, history.run.spec.objective.mode)
    return plot(figure, says, 420, width=95 * axes)


def _mend_lines(figure: Figure, mode: str) -> None:
    """Colour the lines by their rank, the best on top: Optuna means the plot for a white page, and for even values."""
    lines = [line for line in figure["data"] if line["y"][0] is not None]
    lines.sort(key=lambda line: float(line["y"][0]), reverse=mode == "min")
    for rank, line in enumerate(lines):
        share = rank / (len(lines) - 1)
        line["line"]["color"] = sample_colorscale(SCALE, [share])[0]
        line["opacity"] = 0.3 + 0.6 * share
    figure["data"] = lines
    for annotation in figure["layout"]["annotations"]:
        annotation.update(bgcolor="@card", font={"size": 10})
    figure["layout"]["margin"] = {"l": 30, "r": 10, "t": 10, "b": 50}


@quiet()
def importance(history: History) -> str:
    """Show how much each param matters, in two ways."""
    rows, varied = valued(history), _varied(history)
    if len(rows) < FEWEST:
        return paragraph(f"{_count(len(rows))} a finite value; importance is told from {FEWEST} on.")
    if len(varied) < 2:
        return paragraph("Only one param was varied, so there is nothing to weigh it against.")
    if len({row.value for row in rows}) == 1:
        return paragraph("All trials reached the same value: no param made a difference.")
    from optuna.importance import FanovaImportanceEvaluator  # it imports scikit-learn: a second of CPU

    study = _study(history, rows)
    top = math.ceil(len(rows) / 10)
    says = f"What tells the best tenth ({top} of {len(rows)} trials) from all of them, by PED-ANOVA, Optuna's default."
    says += " From so few this is a hint at most." if top < FEWEST else ""
    made = _weights(study, varied, None, says)
    # fANOVA knows no conditions.
    always = [name for name in varied if all(name in row.params for row in rows)]
    if len(always) > 1:
        says = f"What makes values differ, good ones and bad, by fANOVA over {len(rows)} trials."
        left = [name for name in varied if name not in always]
        says += f" It cannot weigh {', '.join(left)}, which some trials do not have." if left else ""
        made += _weights(study, always, FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=0), says)
    said = f"{_counted(history)} Importances add up to 1.{_left_out(history)}"
    return paragraph(text(said), "faint") + f'<div class="grid">{made}</div>'


def _weights(study: optuna.Study, names: list[str], evaluator: BaseImportanceEvaluator | None, says: str) -> str:
    figure = plain(plot_param_importances(study, evaluator, names))
    most = max(bar["x"][-1] for bar in figure["data"])
    figure["layout"]["xaxis"] = {"title": {"text": "importance"}, "range": [0, 1.2 * most]}
    figure["layout"]["yaxis"] = {}
    figure["data"][0]["marker"] = {"color": "@accent"}
    return plot(figure, says, 90 + 34 * len(names))


@quiet()
def slices(history: History) -> str:
    """Draw the best value of each trial over each param."""
    rows = valued(history)
    if not rows:
        return paragraph("No trial has a finite value yet.")
    shown = [row for row in history.rows if row.value is not None][:MOST_POINTS]
    study = _study(history, sorted(shown, key=lambda row: trial_number(row.trial)))
    plots = []
    for name in history.run.spec.space:
        having = [row for row in shown if name in row.params]
        if not having:
            plots.append(paragraph(f"No trial with a finite value has {text(name)}."))
            continue
        figure = plain(plot_slice(study, params=[name], target_name=text(history.metric)))
        _mend_slice(figure, history.run.spec.space[name])
        few = f" (the {len(having)} trials that have it)" if len(having) < len(shown) else ""
        plots.append(plot(figure, f"{history.metric} over {name}{few}.", 270))
    said = _left_out(history, len(shown), f"Only the best {len(shown)} are drawn.").strip()
    return (
        paragraph(f"{_counted(history)} The colour tells early from late trials. {text(said)}", "faint")
        + f'<div class="grid">{"".join(plots)}</div>'
    )


def _mend_slice(figure: Figure, dimension: Float | Int | Choice) -> None:
    """Show the whole range, and name choices as the page does: Optuna puts texts between quotes."""
    axis = figure["layout"]["xaxis"]
    for trace in figure["data"]:
        trace["marker"].update(size=7, colorscale=SCALE, colorbar={"title": {"text": "trial"}, "thickness": 10})
        if "categoryarray" in axis:
            trace["x"] = [literal_eval(label) for label in trace["x"]]
    if "categoryarray" in axis:
        axis["categoryarray"] = [literal_eval(label) for label in axis["categoryarray"]]
    if not isinstance(dimension, Choice):
        ends = dimension.low, dimension.high
        ends = (math.log10(ends[0]), math.log10(ends[1])) if dimension.log else ends
        room = 0.04 * (ends[1] - ends[0])
        axis["range"] = [ends[0] - room, ends[1] + room]
        if dimension.log and ends[1] - ends[0] >= 2:
            axis["dtick"] = 1


def _varied(history: History) -> list[str]:
    """Name the params of which trials had different values."""
    seen: dict[str, set[str]] = {}
    for row in valued(history):
        for name, value in row.params.items():
            seen.setdefault(name, set()).add(json.dumps(value))
    return [name for name, values in seen.items() if len(values) > 1]


def _counted(history: History) -> str:
    early = any(row.state == "stopped" for row in history.rows)
    return (
        "Trials that were stopped early count too: each with its best value." if early else "Each counts with its best."
    )


def _count(count: int) -> str:
    return "No trial has" if not count else f"Only {count} trial{' has' if count == 1 else 's have'}"


def _left_out(history: History, shown: int | None = None, cut: str = "") -> str:
    without = sum(row.value is None for row in history.rows)
    said = f" {without} of {len(history.rows)} trials have no finite value and are left out." if without else ""
    return said + (f" {cut}" if shown is not None and shown < len(history.rows) - without else "")


def _study(history: History, rows: list[Row]) -> optuna.Study:
    """Build a study of trials, all of them complete with their best value."""
    space, objective = history.run.spec.space, history.run.spec.objective
    study = optuna.create_study(direction="maximize" if objective.mode == "max" else "minimize")
    distributions = {name: _distribution(dimension) for name, dimension in space.items()}
    study.add_trials(
        create_trial(
            state=TrialState.COMPLETE,
            value=row.value,
            params=_values(space, row.params),
            distributions={name: distributions[name] for name in row.params},
        )
        for row in rows
    )
    return study


def _values(space: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _labels(d)[d.index(value)] if isinstance(d := space[name], Choice) else value
        for name, value in params.items()
    }


def _distribution(dimension: Float | Int | Choice) -> BaseDistribution:
    """Translate a dimension for plots, to which steps do not matter."""
    if isinstance(dimension, Choice):
        return distribution(dimension, _labels(dimension))
    return distribution(dimension.model_copy(update={"step": 1 if isinstance(dimension, Int) else None}))


def _labels(dimension: Choice) -> list[Any]:
    """Name the values of a choice: numbers stay numbers where all are, anything else becomes text."""
    values = dimension.values
    if all(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values):
        return list(values)
    return [text(value if isinstance(value, str) else json.dumps(value)) for value in values]


def plain(figure: Any) -> Figure:
    """Turn a figure of plotly's into plain values, without what the page itself decides."""
    made: Figure = json.loads(figure.to_json())
    for name in ("template", "title", "plot_bgcolor", "width", "height"):
        made["layout"].pop(name, None)
    return made
