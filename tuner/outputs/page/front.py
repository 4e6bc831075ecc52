"""The Pareto front of several objectives, by Optuna's own plot over a study that is built from the ledger."""

from __future__ import annotations

from itertools import combinations

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from optuna.visualization import plot_pareto_front

from tuner.core import standing
from tuner.outputs import front as found
from tuner.outputs.page.history import History
from tuner.outputs.page.html import Figure, paragraph, plot, table, text
from tuner.outputs.page.searched import plain, quiet
from tuner.outputs.page.setup import shown

MOST_POINTS = 2000


@quiet()
def front(history: History) -> str:
    """Draw each trial over each pair of objectives, and list the front."""
    run = history.run
    if not run.front:
        return paragraph(text(found.nothing(run)))
    says = "No other report is better than one of the front in an objective and no worse in any. "
    chosen = run.chosen
    if chosen is not None:
        says += f"In best/ is {chosen.trial} at epoch {chosen.epoch}, {found.why_chosen(run)}."
    made = paragraph(text(says), "faint")
    metrics = [objective.metric for objective in run.spec.objectives]
    study = _study(history)
    plots = [plot(_figure(study, metrics, pair), _caption(history, metrics, pair), 360)
             for pair in combinations(range(len(metrics)), 2)]  # fmt: skip
    made += f'<div class="grid">{"".join(plots)}</div>' if len(plots) > 1 else plots[0]
    params = list(run.spec.space)
    rows = [
        [best.trial, best.epoch, *(best.values[metric] for metric in metrics),
         *(shown(best.params[name]) if name in best.params else "" for name in params)]
        for best in found.members(run)
    ]  # fmt: skip
    return made + table(["trial", "epoch", *metrics, *params], rows, sortable=True)


def _caption(history: History, metrics: list[str], pair: tuple[int, int]) -> str:
    across, up = (metrics[i] for i in pair)
    limits = " Violet ones break a constraint." if history.run.spec.constraints else ""
    return f"{up} over {across}: the reports of the front in orange, each other trial by its best.{limits}"


def _study(history: History) -> optuna.Study:
    """Build a study of the front and the best report of each trial that is not on it, all of them complete."""
    run = history.run
    modes = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}
    study = optuna.create_study(directions=[modes[objective.mode] for objective in run.spec.objectives])
    reports = [found.report_of(run, best) for best in run.front]
    others = [run.trials[row.trial].best for row in history.rows if row.front != 1]
    for report in [*reports, *(best for best in others if best is not None)][:MOST_POINTS]:
        metrics, limits = report.metrics, standing.excesses(run.spec, report.metrics)
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                values=list(standing.values(run.spec, metrics).values()),
                user_attrs={"trial": report.trial, "epoch": report.epoch},
                system_attrs={f"constraints:{limit}": excess for limit, excess in limits.items()},
            )
        )
    return study


def _figure(study: optuna.Study, metrics: list[str], pair: tuple[int, int]) -> Figure:
    made = plot_pareto_front(
        study,
        targets=lambda trial: [trial.values[i] for i in pair],
        target_names=[text(metrics[i]) for i in pair],
    )
    figure = plain(made)
    colours = ["@infeasible", "@paused", "@best"][-len(figure["data"]) :]
    for trace, colour in zip(figure["data"], colours, strict=True):
        trace["marker"] = {"color": colour, "size": 9 if colour == "@best" else 7}
    figure["layout"]["showlegend"] = False
    return figure
