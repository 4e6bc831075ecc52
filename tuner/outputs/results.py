"""What a run has found: the leaderboard, the summary, and the best model's files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core import epochs
from tuner.core.records import OUTCOMES, Report
from tuner.core.standing import broken
from tuner.core.state import RunState, replay
from tuner.core.trial import Best, TrialState
from tuner.ledger import read
from tuner.outputs import best, front
from tuner.outputs.confirmed import confirmed
from tuner.spelled import spelled
from tuner.storage import write_whole

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Row:
    """A trial's line in the leaderboard."""

    trial: str
    value: float | None
    """Its best value; None where it has no finite one."""
    epoch: int
    """The epoch of that value."""
    epochs: int
    """How many it trained."""
    state: str
    reason: str
    params: dict[str, Any]
    """Those that it had at that epoch; the last ones where there is no value."""
    front: int | None = None
    """With several objectives: 1 where no report dominates it, 2 where only those of 1 do, and so on."""
    breaks: str = ""
    """The constraints that it breaks."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The other objectives at that epoch, and what has a limit."""


def read_state(folder: Path) -> RunState:
    """Build the state of any run from its ledger, also of one that is live."""
    return replay(read(folder))


def leaderboard(run: RunState) -> list[Row]:
    """List all trials, the best first: those that break a constraint, then those without a finite value last.

    With several objectives they are sorted by their front, then by the first objective.
    """
    # Copied first: another thread may add trials to a live run.
    trials = list(run.trials.values())
    fronts = front.numbers(run, trials) if front.is_several(run) else {}
    listed = front.listed(run)
    rows = [_row(run, trial, fronts.get(trial.id), listed.get(trial.id, trial.best)) for trial in trials]
    score = run.spec.objective.score

    def place(row: Row) -> tuple[float, ...]:
        if row.value is None:
            return (math.inf,)
        return run.trials[row.trial].violation, row.front or 0, -score(row.value)

    return sorted(rows, key=place)


def summary(run: RunState, state: str, test: dict[str, float] | None = None) -> dict[str, Any]:
    """Sum a run up, as `summary.json` holds it."""
    outcomes = [trial.outcome or trial.status for trial in run.trials.values()]
    still = [status for status in ("running", "paused") if status in outcomes]
    return {
        "name": run.name,
        "state": state,
        "trials": {outcome: outcomes.count(outcome) for outcome in (*OUTCOMES, *still)},
        "epochs": epochs.of_run(run),
        "seconds": round(run.elapsed, 3),
        "best": _best(run.chosen if front.is_several(run) else run.best),
        **({"front": front.facts(run)} if front.is_several(run) else {}),
        **({"confirmed": [asdict(row) for row in rows]} if (rows := confirmed(run)) else {}),
        **({"test": test} if test else {}),
        "versions": run.versions,
    }


def write(folder: Path, run: RunState, state: str, say: Callable[[str], None] = lambda text: None) -> None:
    """Write `summary.json`, `leaderboard.csv` and `best/`; `say` tells what of the best cannot be had."""
    facts = summary(run, state, best.read_test(folder, run.chosen))
    write_whole(folder / "summary.json", json.dumps(spelled(facts), indent=2) + "\n")
    write_whole(folder / "leaderboard.csv", _csv(run))
    best.write(folder, run, say)


class Result:
    """A run to look at from Python, as it was when this was made; of a live run make another for what is new.

    `folder` is the run's own. Raises UserError where it holds no ledger, or one that is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.run = read_state(self.folder)

    @property
    def best(self) -> Best | None:
        """The best report of the search: its `trial`, `epoch`, `value` and `params`; None where there is none."""
        return self.run.best

    @property
    def front(self) -> list[Best]:
        """The Pareto front, the best of the first objective first; empty where there is one objective."""
        return front.members(self.run)

    @property
    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`, which is written when a driver ends."""
        return dict(json.loads((self.folder / "summary.json").read_text()))

    @property
    def model(self) -> Path | None:
        """The file of the best model, for `torch.load(..., weights_only=True)`; None where not just one was tracked."""
        found = best.models(self.folder)
        return found[0] if len(found) == 1 else None

    def table(self) -> pd.DataFrame:
        """Give the leaderboard as a pandas table, one row a trial, one column a param, the best first.

        Beside the params: `trial`, `value` (the best one), its `epoch`, the `epochs` trained, `state` and `reason`.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {**_facts(self.run, row), **_beside(_taken(self.run), row.params, "params")}
                for row in leaderboard(self.run)
            ],
            columns=_columns(self.run),
        )

    def curves(self) -> pd.DataFrame:
        """Give every report as a pandas table, one row a report: trial, generation, epoch, and the metrics."""
        import pandas as pd

        names = ("trial", "generation", "epoch")
        return pd.DataFrame(
            [
                {"trial": trial.id, "generation": report.generation, "epoch": report.epoch}
                | _beside(names, report.metrics, "metrics")
                for trial in self.run.trials.values()
                for report in trial.reports
            ],
            columns=None if any(trial.reports for trial in self.run.trials.values()) else list(names),
        )

    def __repr__(self) -> str:
        return f"<run {self.run.name}: {len(self.run.trials)} trials, best {self.best}>"


def _best(found: Best | None) -> dict[str, Any] | None:
    if found is None:
        return None
    several = {"values": found.values} if found.values else {}
    return {**{name: getattr(found, name) for name in ("trial", "value", "epoch", "params")}, **several}


def _row(run: RunState, trial: TrialState, number: int | None, top: Report | None) -> Row:
    """List a trial of the front of this number by this report."""
    metrics = {} if top is None else top.metrics
    return Row(
        trial=trial.id,
        value=metrics.get(run.spec.objective.metric),
        epoch=0 if top is None else top.epoch,
        epochs=epochs.trained(trial),
        state=trial.outcome or trial.status,
        reason=trial.reason,
        params=trial.params if top is None else trial.params_of(top.generation),
        front=number,
        breaks=broken(run.spec, metrics) if metrics else "",
        metrics={name: metrics[name] for name in front.others(run) if name in metrics},
    )


FACTS = ("trial", "value", "epoch", "epochs", "state", "reason")


def _facts(run: RunState, row: Row) -> dict[str, Any]:
    known = {name: getattr(row, name) for name in _names(run)}
    return {**known, **{name: row.metrics.get(name) for name in front.others(run) if name not in known}}


def _names(run: RunState) -> tuple[str, ...]:
    """Name what is told of each trial beside metrics and params."""
    return (*FACTS, *(["front"] if front.is_several(run) else []), *(["breaks"] if run.spec.constraints else []))


def _taken(run: RunState) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*_names(run), *front.others(run)]))


def _beside(taken: tuple[str, ...], values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Name values so that a param called `epoch`, say, does not take the place of another column."""
    return {f"{kind}.{name}" if name in taken else name: value for name, value in values.items()}


def _columns(run: RunState) -> list[str]:
    return [*_taken(run), *_beside(_taken(run), run.spec.space, "params")]


def _csv(run: RunState) -> str:
    """Write the leaderboard; lists and the like as JSON, what a trial does not have as nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(run), restval="")
    writer.writeheader()
    for row in leaderboard(run):
        params = {name: _cell(value) for name, value in row.params.items()}
        writer.writerow({**_facts(run, row), **_beside(_taken(run), params, "params")})
    return text.getvalue()


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(spelled(value))
