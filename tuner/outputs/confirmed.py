"""What a confirmation says: how good the best trials are on fresh seeds, and how much too good they had looked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from tuner.core import confirm
from tuner.core.state import RunState
from tuner.core.student import error_of_mean, mean, quantile
from tuner.core.trial import TrialState
from tuner.outputs.grid import Column, cut, grid, number

TAIL = 0.025
"""On each side of the interval, which holds the mean with probability 0.95."""
DRAWS = 10_000
WHY_NOT = {
    "hours": "budget.hours was reached before each had its seeds",
    "asked": "the run was stopped before each had its seeds",
}
WAITS = "Until then the test split is not touched; with a larger budget --resume goes on."


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A trial of the search on fresh seeds. All values are those of the metric, the best epoch's of each repeat."""

    trial: str
    values: list[float | None]
    """One for each repeat that ended by itself, in the order of the seeds; None where it failed."""
    mean: float | None
    """Of the values; None where there are none."""
    low: float | None
    """The mean lies between these with probability 0.95, by Student's t; None for fewer than two values."""
    high: float | None
    n: int
    """How many values the mean is taken of."""
    probability_best: float | None
    """That its mean is the best of all of these; None where that cannot be told."""
    search_value: float
    """Its best value in the search."""
    optimism: float | None
    """How much better that was than the mean: above 0 where the search made it look too good, in either mode."""
    dropped: str
    """Why it was left out before it had all seeds; empty where it was not."""
    won: bool
    """Whether it is the best on fresh seeds, and everything is confirmed."""


def confirmed(run: RunState) -> list[Confirmed]:
    """List the trials that were repeated, the best on fresh seeds first, dropped ones last; empty where none was."""
    if not run.repeats:
        return []
    race, best = confirm.race(run), confirm.winner(run)
    scores = {trial.id: confirm.scores_of(run, trial.id) for trial in race.candidates}
    order = sorted(race.candidates, key=lambda trial: (trial.id in race.dropped, confirm.rank(scores[trial.id])))
    chances = probabilities([scores[trial.id] for trial in order])
    return [
        _row(run, trial, scores[trial.id], chance, race.dropped.get(trial.id, ""), trial is best)
        for trial, chance in zip(order, chances, strict=True)
    ]


def winner(run: RunState) -> Confirmed | None:
    """Find the winner's row; None where nothing is confirmed."""
    return next((row for row in confirmed(run) if row.won), None)


def _row(
    run: RunState, trial: TrialState, scores: list[float], chance: float | None, dropped: str, won: bool
) -> Confirmed:
    score, found = run.spec.objective.score, [one for one in scores if math.isfinite(one)]
    middle = mean(found) if found else None
    apart = quantile(TAIL, len(found) - 1) * error_of_mean(found) if len(found) > 1 else None
    low, high = (None, None) if middle is None or apart is None else (middle - apart, middle + apart)
    assert trial.best is not None
    searched = run.objective(trial.best)
    return Confirmed(
        trial=trial.id,
        values=[score(one) if math.isfinite(one) else None for one in scores],
        mean=None if middle is None else score(middle),
        low=None if low is None or high is None else min(score(low), score(high)),
        high=None if low is None or high is None else max(score(low), score(high)),
        n=len(found),
        probability_best=chance,
        search_value=searched,
        optimism=None if middle is None else score(searched) - middle,
        dropped=dropped,
        won=won,
    )


def probabilities(scores: Sequence[Sequence[float]]) -> list[float | None]:
    """Estimate for each list of scores the probability that its mean is the highest of all.

    Each mean has the posterior of normal values with a flat prior, a scaled t (Gelman et al. 2013, section 3.2),
    independent of the others: what they share by their seeds is left out, which makes the answer a cautious one. A list
    with a failure counts as the worst. Where another has fewer than two scores nothing can be told of any.
    """
    failed = [-math.inf in one for one in scores]
    told = [i for i in range(len(scores)) if not failed[i]]
    found: list[float | None] = [0.0 if one else None for one in failed]
    if not told or any(len(scores[i]) < 2 for i in told):
        return [None for _ in scores]
    import numpy as np

    dice = np.random.default_rng(0)
    draws = np.stack(
        [mean(scores[i]) + error_of_mean(scores[i]) * dice.standard_t(len(scores[i]) - 1, DRAWS) for i in told]
    )
    firsts = draws == draws.max(axis=0)
    for i, share in zip(told, (firsts / firsts.sum(axis=0)).mean(axis=1), strict=True):
        found[i] = float(share)
    return found


def progress(run: RunState) -> str:
    """Say how far the confirmation is; nothing where none has begun."""
    if not run.repeats or run.is_searching:
        return ""
    left, repeats = sum(1 for _ in confirm.missing(run)), list(run.repeats.values())  # which grow meanwhile
    running = sum(one.status != "ended" for one in repeats)
    done, race = len(repeats) - running, confirm.race(run)
    out = f", {len(race.dropped)} dropped" if race.dropped else ""
    again = sum(confirm.is_cut_short(run, one) for one in repeats) if left else 0
    return f"confirming {len(race.living)} trials{out}: {done - again} of {done - again + running + left} repeats"


def lines(run: RunState, width: int) -> list[Text]:
    """Lay out what was confirmed; empty where nobody asked for it."""
    if run.spec.confirm is None or run.is_searching:
        return []
    rows = confirmed(run)
    first = [Text(cut(head(run, rows), width))]
    if run.closed in WHY_NOT and confirm.is_pending(run):
        first.append(Text(cut(WAITS, width)))
    if not rows:
        return first
    columns = [
        Column("trial"), Column("mean", right=True), Column("± 95 %", right=True, drop=2),
        Column("seeds", right=True, drop=4), Column("P(best)", right=True, drop=1), Column("in the search", right=True),
        Column("too good by", right=True, drop=3), Column("", drop=5, least=8),
    ]  # fmt: skip
    text = [*first, *grid(columns, [_cells(row) for row in rows], width)]
    if all(row.n > 1 and row.low == row.high for row in rows):
        text.append(Text(cut("All repeats of a trial gave the same: the function does not depend on its seed.", width)))
    return text


def head(run: RunState, rows: Sequence[Confirmed]) -> str:
    """Say who won, or why nobody did."""
    if not rows or not (first := rows[0]).won:
        return f"Not confirmed: {_why_not(run, rows)}"
    mean = f"{run.spec.objective.metric} {first.mean:.6g}{interval(first)}"
    return f"Confirmed: {first.trial}, {mean} on {first.n} fresh seeds"


def _cells(row: Confirmed) -> tuple[list[str], str]:
    middle = "" if row.mean is None else number(row.mean)
    apart = "" if row.low is None or row.high is None else f"{(row.high - row.low) / 2:.2g}"
    chance = "" if row.probability_best is None else f"{row.probability_best:.2f}"
    too_good = "" if row.optimism is None else f"{row.optimism:+.2g}"
    failed = sum(value is None for value in row.values)
    notes = [f"dropped: {row.dropped}"] if row.dropped else [f"failed on {failed}"] if failed else []
    cells = [row.trial, middle, apart, str(row.n), chance, number(row.search_value), too_good, "; ".join(notes)]
    return cells, "green" if row.won else "dim" if row.dropped else ""


def interval(row: Confirmed) -> str:
    """Write half of the interval behind a mean; nothing where there is none."""
    return "" if row.low is None or row.high is None else f" ± {(row.high - row.low) / 2:.2g}"


def _why_not(run: RunState, rows: Sequence[Confirmed]) -> str:
    if not confirm.candidates(run):
        return "no trial can be repeated"
    if run.closed in WHY_NOT:
        return WHY_NOT[run.closed]
    return "no repeat gave a value" if run.finished() and rows else "it is not over"
