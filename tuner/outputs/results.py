"""What a run has found: the leaderboard, the summary, and the best model's files."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tuner.core.records import OUTCOMES
from tuner.core.state import Best, RunState, TrialState
from tuner.ledger import read
from tuner.storage import write_whole

if TYPE_CHECKING:
    import pandas as pd

BEST = "best"
TEST = "test.json"


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


def read_state(folder: Path) -> RunState:
    """Build the state of any run from its ledger, also of one that is live."""
    run = RunState()
    for record in read(folder):
        run.apply(record)
    return run


def leaderboard(run: RunState) -> list[Row]:
    """List all trials, the best first, those without a finite value last."""
    rows = [_row(run, trial) for trial in run.trials.values()]
    score = run.spec.objective.score
    return sorted(rows, key=lambda row: (row.value is None, -score(row.value) if row.value is not None else 0.0))


def summary(run: RunState, state: str, test: dict[str, float] | None = None) -> dict[str, Any]:
    """Sum a run up, as `summary.json` holds it."""
    outcomes = [trial.outcome or trial.status for trial in run.trials.values()]
    counted = {outcome: outcomes.count(outcome) for outcome in (*OUTCOMES, "running", "paused") if outcome in outcomes}
    return {
        "name": run.name,
        "state": state,
        "trials": counted,
        "epochs": sum(len(trial.reports) for trial in run.trials.values()),
        "seconds": round(run.elapsed, 3),
        "best": _best(run.best),
        **({"test": test} if test else {}),
        "versions": run.versions,
    }


def write(folder: Path, run: RunState, state: str) -> None:
    """Write `summary.json`, `leaderboard.csv` and `best/`."""
    if run.best_saved is not None:
        _write_best(folder, run, run.best_saved)
    elif run.best is not None:
        write_whole(folder / BEST / "params.yaml", repeat(run))
    write_whole(folder / "summary.json", json.dumps(summary(run, state, read_test(folder)), indent=2) + "\n")
    write_whole(folder / "leaderboard.csv", _csv(run))


def repeat(run: RunState) -> str:
    """Write the spec that trains the best params again, and nothing else."""
    assert run.best is not None
    spec = run.spec.model_dump(mode="json", exclude_none=True)
    spec["budget"] = {"trials": 1, "epochs": run.spec.budget.epochs}
    spec.update(start={"points": [run.best.params]}, search={"kind": "random"}, scheduler={"kind": "none"})
    head = f"# The best of {run.name}: {run.best.trial}, {run.spec.objective.metric} {run.best.value:.6g}. Train it again:\n"
    return f"{head}#   python launch.py --space {BEST}/params.yaml\n" + yaml.safe_dump(spec, sort_keys=False)


def read_test(folder: Path) -> dict[str, float] | None:
    """Read what was measured on the test split."""
    path = folder / BEST / TEST
    return dict(json.loads(path.read_text())["metrics"]) if path.exists() else None


class Result:
    """A run to look at from Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = read_state(folder)

    @property
    def best(self) -> Any:
        """The best report: trial, epoch, value, params; None where there is none."""
        return self.run.best

    @property
    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        return dict(json.loads((self.folder / "summary.json").read_text()))

    def table(self) -> pd.DataFrame:
        """Give the leaderboard as a pandas table, one row a trial, one column a param."""
        import pandas as pd

        return pd.DataFrame([{**_facts(row), **row.params} for row in leaderboard(self.run)])

    def curves(self) -> pd.DataFrame:
        """Give every report as a pandas table: trial, epoch, and the metrics."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"trial": trial.id, "generation": report.generation, "epoch": report.epoch, **report.metrics}
                for trial in self.run.trials.values()
                for report in trial.reports
            ]
        )

    def __repr__(self) -> str:
        return f"<run {self.run.name}: {len(self.run.trials)} trials, best {self.best}>"


def _best(best: Best | None) -> dict[str, Any] | None:
    return {name: getattr(best, name) for name in ("trial", "value", "epoch", "params")} if best else None


def _row(run: RunState, trial: TrialState) -> Row:
    score = run.spec.objective.score
    finite = [(score(value), -r.epoch) for r in trial.reports if math.isfinite(value := run.objective(r))]
    value, epoch = max(finite, default=(None, 0))
    return Row(
        trial=trial.id,
        value=None if value is None else score(value),
        epoch=-epoch,
        epochs=len(trial.reports),
        state=trial.outcome or trial.status,
        reason=trial.reason,
        params=trial.params,
    )


def _facts(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("trial", "value", "epoch", "epochs", "state", "reason")}


def _csv(run: RunState) -> str:
    text = io.StringIO()
    names = ["trial", "value", "epoch", "epochs", "state", "reason", *run.spec.space]
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows({**_facts(row), **row.params} for row in leaderboard(run))
    return text.getvalue()


def _write_best(folder: Path, run: RunState, best: Best) -> None:
    """Copy the model out of the best checkpoint, which loads with `weights_only=True`."""
    assert best.checkpoint is not None
    write_whole(folder / BEST / "params.yaml", repeat(run))
    for name, path in models(folder / best.checkpoint):
        temporary = folder / BEST / f".{name}"
        shutil.copyfile(path, temporary)
        temporary.replace(folder / BEST / name)


def models(checkpoint: Path) -> Iterator[tuple[str, Path]]:
    """Name the files of the tracked models: the only one is `model.pt`, several keep their names."""
    try:
        kinds: dict[str, str] = json.loads((checkpoint / "manifest.json").read_text())["kinds"]
    except OSError:
        return
    names = [name for name, kind in kinds.items() if kind == "module"]
    for name in names:
        yield ("model.pt" if len(names) == 1 else f"{name}.pt"), checkpoint / f"{name}.pt"
