"""The model card of the best: Markdown below a head of YAML, as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.core.state import RunState
from tuner.core.trial import Best
from tuner.outputs import confirmed, experiment, front
from tuner.storage import BEST
from tuner.trial.checkpoint import CARRIED

NAME = "README.md"
FORMATS = {
    ".safetensors": "the weights, for `safetensors.torch.load_model`",
    ".pt2": "the model with its code, for `torch.export.load(...).module()`; it needs nothing of the trainable",
}
DATASETS = ("dataset", "data")
"""Parameters of a trainable that name what it is trained on."""


def carried(folder: Path) -> Path | None:
    """Give the checkpoint that a function for Ray Tune had reported with the best value; None where it had none."""
    path = folder / BEST / CARRIED
    return path if path.is_dir() else None


def text(
    folder: Path,
    run: RunState,
    best: Best,
    tracked: Mapping[str, Mapping[str, Any]] | None,
    formats: Mapping[str, Any],
    test: Mapping[str, float] | None,
) -> str:
    """Write the card of a run's best; `tracked` is what is kept of its checkpoint.

    It is None where that cannot be read; `formats` tells what else there is."""
    head = experiment.document(_head(run, best, test), [])
    parts = [
        _what(run, best),
        _score(run, best, test),
        _use(tracked, formats, carried(folder) is not None),
        _params(run, best),
        _made(folder, run, best),
    ]
    return f"---\n{head}---\n\n# {run.name}\n\n" + "\n".join(parts)


def _head(run: RunState, best: Best, test: Mapping[str, float] | None) -> dict[str, Any]:
    metric, data = run.spec.objective.metric, _dataset(run, best) or "unknown"
    metrics = [{"type": metric, "name": what, "value": value} for what, value, _ in _values(run, best)]
    metrics += [{"type": name, "name": f"{name} (test split)", "value": value} for name, value in (test or {}).items()]
    result = {"task": {"type": "other"}, "dataset": {"type": data, "name": data}, "metrics": metrics}
    tags = ["pytorch", "hyperparameter-search"]
    return {"library_name": "pytorch", "tags": tags, "model-index": [{"name": run.name, "results": [result]}]}


def _dataset(run: RunState, best: Best) -> str | None:
    params = {**run.spec.fixed, **best.params}
    return next((str(params[name]) for name in DATASETS if params.get(name)), None)


def better_unsaved(run: RunState) -> Best | None:
    """Find the best report, where another one's model, with a worse value, is kept since that epoch was not saved."""
    top, kept = run.best, run.chosen
    if top is None or kept is None or kept is not run.best_saved or kept.value == top.value:
        return None
    return top


def _values(run: RunState, best: Best) -> list[tuple[str, float, str]]:
    """List values of the objective by what each is, with its interval: of the search, on fresh seeds, of this model."""
    goal, winner = run.spec.objective, confirmed.winner(run)
    if best.values:
        modes = {objective.metric: objective.mode for objective in run.spec.objectives}
        return [(f"{metric} ({modes[metric]})", value, "") for metric, value in best.values.items()]
    if winner is None or winner.mean is None:
        top = better_unsaved(run)
        what = f"the best that was saved; {top.trial} had {top.value:.6g}" if top else "the best of the search"
        return [(f"{goal.metric} ({goal.mode}), {what}", best.value, "")]
    mean = f"{goal.metric} of {winner.trial} on {winner.n} fresh seeds, the mean"
    return [
        (f"{goal.metric} of {winner.trial} in the search", winner.search_value, ""),
        (mean, winner.mean, confirmed.interval(winner)),
        (f"{goal.metric} of this model, {best.trial}, the best of these", best.value, ""),
    ]


def _what(run: RunState, best: Best) -> str:
    spec, data, of = run.spec, _dataset(run, best), run.find(best.trial).of
    what = f"a repeat of {of}, which won on fresh seeds among the best of" if of else "the best of"
    told = f"Data set: `{data}`." if data else "Data set: not named; a parameter `dataset` of the trainable would be."
    return (
        f"`{spec.trainable}`, trial {best.trial} at epoch {best.epoch}: {what} {len(run.trials)} trials "
        f"(search `{spec.search.kind}`, scheduler `{spec.scheduler.kind}`, at most {spec.budget.epochs} epochs each).\n"
        f"{told}\n"
    )


def _score(run: RunState, best: Best, test: Mapping[str, float] | None) -> str:
    goal = run.spec.objective
    rows = [f"| {what} | {value:.6g}{interval} |" for what, value, interval in _values(run, best)]
    rows += [f"| {name}, on the test split | {value:.6g} |" for name, value in (test or {}).items()]
    among = f"among {len(run.trials)} trials, and among their epochs"
    if best.values:
        told = f"It is one of a Pareto front of {len(run.front)}, found {among}: {front.why_chosen(run)}. "
    elif (winner := confirmed.winner(run)) is None:
        told = f"It was chosen by {goal.metric} {among}: that number is optimistic, the more so the more there were. "
    else:
        told = (
            f"In the search {winner.trial} was one of the best {among}: that number is optimistic. It was chosen by "
            f"its mean on fresh seeds, among {len(confirmed.confirmed(run))} trials. "
        )
    told += "The test split was measured when this model was chosen." if test else "No test split was measured."
    return "## The score\n\n| metric | value |\n|---|---|\n" + "\n".join(rows) + f"\n\n{told}\n"


def _use(tracked: Mapping[str, Mapping[str, Any]] | None, formats: Mapping[str, Any], carried: bool) -> str:
    if tracked is None:
        return "## The model\n\n- no model: the checkpoint of the best cannot be read\n"
    written, problems = formats.get("written", []), formats.get("problems", {})
    lines = [f"- `{facts['file']}`: {_told(name, facts)}" for name, facts in tracked.items()]
    lines += [f"- `{name}`: {FORMATS[Path(name).suffix]}" for name in written]
    lines += [f"- no `{name}`: {problem}" for name, problem in problems.items()]
    if carried:
        lines.append(f"- `{CARRIED}/`: the checkpoint that the function itself reported")
    elif not any(facts["kind"] == "module" for facts in tracked.values()):
        lines.append("- no model: the trainable tracks none; `trial.track(model=...)` has it kept")
    if not tracked:
        return "## The model\n\n" + "\n".join(lines) + "\n"
    load = '```python\nimport tuner\n\nmodel = tuner.load_best("best")  # this folder, wherever it lies\n```\n'
    return (
        "## The model\n\n" + "\n".join(lines) + f"\n\n{load}\n"
        "This runs the trainable up to its `trial.track`, so its code has to be there, and what it reads until then.\n"
    )


def _told(name: str, facts: Mapping[str, Any]) -> str:
    what = f"the weights of `{name}`" if facts["kind"] == "module" else f"the state of `{name}`, preprocessing"
    return f"{what}, {'JSON' if facts['file'].endswith('.json') else 'for `torch.load(..., weights_only=True)`'}"


def _params(run: RunState, best: Best) -> str:
    rows = [(name, value, "") for name, value in best.params.items()]
    rows += [(name, value, "fixed") for name, value in run.spec.fixed.items()]
    cells = [f"| {name} | `{_cell(value)}` | {how} |" for name, value, how in rows]
    return (
        "## Params\n\n| name | value | |\n|---|---|---|\n" + "\n".join(cells) + "\n\n`params.yaml` trains them again.\n"
    )


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").splitlines())


def _made(folder: Path, run: RunState, best: Best) -> str:
    spec = run.spec
    trial_seed = run.find(best.trial).training_seed(spec.seed)
    lines = [f"- seed of the run {spec.seed}, of the search {spec.search_seed}, of the trial {trial_seed}"]
    lines += [f"- git commit: {_commit(folder)}"]
    lines += [f"- {name} {number}" for name, number in run.versions.items()]
    return "## How it was made\n\n" + "\n".join(lines) + "\n"


def _commit(folder: Path) -> str:
    """Read which commit the run was begun with; where that was not written down, tell the present one."""
    start = "# git commit: "
    try:
        lines = (folder / experiment.NAME).read_text().splitlines()
    except OSError:
        lines = []
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), None) or experiment.commit()
