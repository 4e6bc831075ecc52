"""What each contender itself holds of the job afterwards: read by its own package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compare.programs.job import configuration

Stored = dict[str, Any]
"""`trials`: how many are in which state; `epochs`: [configuration, epoch] of every result; `best`: a value, if any."""


def read(contender: str, folder: Path) -> Stored:
    """Read it; where even that fails, `unreadable` says why."""
    try:
        return {"ray": ray, "optuna": optuna, "tuner": tuner}[contender](folder)
    except Exception as error:
        return {"trials": {}, "epochs": [], "best": None, "unreadable": f"{type(error).__name__}: {error}"[:300]}


def ray(folder: Path) -> Stored:
    """Read the folder of plain Ray Tune's experiment."""
    from ray.tune import ExperimentAnalysis

    analysis = ExperimentAnalysis(str(folder / "ray_results" / "job"), default_metric="val_loss", default_mode="min")
    frames = analysis.trial_dataframes
    epochs = [
        [name(trial.config), int(epoch)]
        for trial in analysis.trials
        if trial.trial_id in frames and "training_iteration" in frames[trial.trial_id]
        for epoch in frames[trial.trial_id]["training_iteration"]
    ]
    best = analysis.get_best_trial()
    value = best.last_result["val_loss"] if best else None
    return {"trials": Counter(trial.status for trial in analysis.trials), "epochs": epochs, "best": value}


def optuna(folder: Path) -> Stored:
    """Read the study of plain Optuna."""
    import optuna as library

    study = library.load_study(study_name="job", storage=f"sqlite:///{folder / 'study.db'}")
    trials = [trial for trial in study.trials if len(trial.params) == 3]
    complete = [trial.value for trial in trials if trial.state.name == "COMPLETE"]
    return {
        "trials": Counter(trial.state.name for trial in study.trials),
        "epochs": [[name(trial.params), epoch] for trial in trials for epoch in trial.intermediate_values],
        "best": min(complete) if complete else None,
    }


def tuner(folder: Path) -> Stored:
    """Read the run's ledger."""
    from tuner.core.state import replay
    from tuner.ledger import read as records

    state = replay(records(folder / "runs" / "job"))
    trials = state.trials.values()
    return {
        "trials": Counter(trial.outcome or "not ended" for trial in trials),
        "epochs": [[name(trial.params), report.epoch] for trial in trials for report in trial.reports],
        "best": state.best.value if state.best else None,
    }


def name(params: Mapping[str, Any]) -> str:
    """Name a configuration as the job's lines do."""
    return configuration(params["lr"], params["momentum"], params["width"])
