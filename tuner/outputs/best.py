"""The folder `best/`: the best model, what prepares its input, and all that is known of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner.core.state import RunState
from tuner.core.trial import Best
from tuner.outputs import card, confirmed, experiment
from tuner.storage import BEST, delete_folder, write_whole
from tuner.trial.checkpoint import CARRIED, Invalid, read_manifest

PARAMS = "params.yaml"
TEST = "test.json"
FORMATS = "formats.json"
MANIFEST = "manifest.json"
"""Written last of what `tuner.load_best` needs."""
VERSION = 1
Tracked = dict[str, dict[str, Any]]
"""Kind, file, size and CRC-32 of each object, by the name under which the function tracks it."""
FOR_TRAINING = ("optimizer", "scheduler", "scaler", "loop")
"""Kinds of tracked objects that are of no use once a model is trained. What else is no module prepares its input."""


def write(folder: Path, run: RunState, say: Callable[[str], None] = lambda text: None) -> None:
    """Write `best/` of a run; what another process has written there of an earlier best is deleted.

    `say` tells the user where the checkpoint of the best cannot be read: then `best/` holds no model.
    """
    best, home = run.chosen, folder / BEST
    if best is None:
        return
    write_whole(home / PARAMS, repeat(folder, run, best))
    formats, tracked = _formats(home, best), _tracked(folder, home, best, say)
    write_whole(home / card.NAME, card.text(folder, run, best, tracked, formats, read_test(folder, best)))
    if tracked is None:
        (home / MANIFEST).unlink(missing_ok=True)
    else:
        write_whole(home / MANIFEST, json.dumps(_manifest(run, best, tracked), indent=2) + "\n")
    if best.checkpoint is not None and (folder / best.checkpoint).is_dir():
        _clear(home, {*(facts["file"] for facts in (tracked or {}).values()), *formats.get("written", ())})


def _tracked(folder: Path, home: Path, best: Best, say: Callable[[str], None]) -> Tracked | None:
    """Copy what is tracked, if the checkpoint is whole; one that is not is told, and nothing is known of it: None.

    Nor is anything known of one that is not here and never was: the best of a run at a URL may have trained elsewhere.
    """
    if best.checkpoint is None:
        return {}
    if not (folder / best.checkpoint).is_dir():
        return _known(home, best)
    try:
        return _copied(folder / best.checkpoint, home)
    except Invalid as error:
        known = _known(home, best)
        what = "best/ keeps what was copied of it earlier" if known else "best/ holds no model"
        say(f"the checkpoint of the best cannot be read, so {what}: {error}")
        return known


def models(folder: Path) -> list[Path]:
    """List the weights of the best models of a run: none where its function tracks none."""
    home = folder / BEST
    try:
        tracked = json.loads((home / MANIFEST).read_text())["tracked"]
    except OSError:
        return []
    return [home / facts["file"] for facts in tracked.values() if facts["kind"] == "module"]


def repeat(folder: Path, run: RunState, best: Best) -> str:
    """Write the spec that trains the best params again, and nothing else."""
    home, file = Path(run.folder), folder / BEST / PARAMS
    spec = {**experiment.resolved(run.spec, home), "budget": {"trials": 1, "epochs": run.spec.budget.epochs}}
    spec.update(start={"points": [best.params]}, search={"kind": "random"}, scheduler={"kind": "none"})
    spec.pop("confirm", None)
    metric = run.spec.objective.metric
    head = [f"The best of {run.name}: {best.trial}, {metric} {best.value:.6g} at epoch {best.epoch}. Train it again:"]
    head.append(f"  {experiment.command(file)}")
    if (top := card.better_unsaved(run)) is not None:
        head.append(f"{top.trial} reached {top.value:.6g} at epoch {top.epoch}, which was not saved.")
    if (winner := confirmed.winner(run)) is not None:
        head.append(f"It repeats {winner.trial}, confirmed on {winner.n} fresh seeds: mean {winner.mean:.6g}.")
    if run.spec.scheduler.kind == "pbt":
        head.append("These are the params at that epoch; earlier epochs were trained with others.")
    return experiment.document(spec, head + experiment.notes(run.spec, home))


def read_test(folder: Path, best: Best | None) -> dict[str, float] | None:
    """Read what was measured of this best on the test split; None where that was another one, or nothing."""
    path = folder / BEST / TEST
    if best is None or not path.exists():
        return None
    facts = json.loads(path.read_text())
    if facts["checkpoint"] != best.checkpoint:
        return None
    return {name: float(value) for name, value in facts["metrics"].items()}


def _formats(home: Path, best: Best) -> dict[str, Any]:
    """Read what another process has written of this best, and what it could not."""
    try:
        facts: dict[str, Any] = json.loads((home / FORMATS).read_text())
    except OSError:
        return {}
    return facts if facts["checkpoint"] == best.checkpoint else {}


def _copied(checkpoint: Path, home: Path) -> Tracked:
    """Copy what was tracked for more than training, and what the function itself had saved.

    The only model is `model.pt`, all else keeps its name. They load with `weights_only=True`; those of a function that
    never imported torch are JSON. Raises Invalid where the checkpoint is not whole.
    """
    manifest = read_manifest(checkpoint)
    kinds = {name: kind for name, kind in manifest.get("kinds", {}).items() if kind not in FOR_TRAINING}
    models = [name for name, kind in kinds.items() if kind == "module"]
    tracked = {}
    for name, kind in kinds.items():
        source = f"{name}.pt" if f"{name}.pt" in manifest["files"] else f"{name}.json"
        stem = "model" if [name] == models and "model" not in kinds else name
        file = f"{stem}.pt" if source.endswith(".pt") else f"{stem}.state.json"
        tracked[name] = {"kind": kind, "file": file, **_facts(checkpoint, manifest, source)}
        _copy(checkpoint / source, home / file)
    _carry(checkpoint / CARRIED, home / CARRIED)
    return tracked


def _carry(source: Path, target: Path) -> None:
    """Copy what the function itself had saved, in place of what was there of an earlier best."""
    temporary = target.with_name(f".{target.name}")
    delete_folder(temporary)
    delete_folder(target)
    if source.is_dir():
        shutil.copytree(source, temporary)
        temporary.replace(target)


def _facts(checkpoint: Path, manifest: dict[str, Any], file: str) -> dict[str, int]:
    """Find what a manifest says of one of its files; raises Invalid where it does not name it."""
    if file not in manifest["files"]:
        raise Invalid(f"{checkpoint}: must hold what it tracks, but its manifest names no {file}")
    facts: dict[str, int] = manifest["files"][file]
    return facts


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def _known(home: Path, best: Best) -> Tracked | None:
    """Read what was copied earlier of a checkpoint that is not there now, or not whole any more."""
    try:
        manifest = json.loads((home / MANIFEST).read_text())
    except OSError:
        return None
    tracked: Tracked | None = manifest["tracked"] if manifest["checkpoint"] == best.checkpoint else None
    return tracked


def _clear(home: Path, kept: set[str]) -> None:
    """Delete what belongs to a best that has been beaten."""
    found = [path for end in ("*.pt", "*.state.json", "*.safetensors", "*.pt2") for path in home.glob(end)]
    for path in found:
        if path.name not in kept:
            path.unlink()


def _manifest(run: RunState, best: Best, tracked: Tracked) -> dict[str, Any]:
    """Gather what it takes to make the best model again from `best/` alone."""
    spec = run.spec
    return {
        "version": VERSION,
        "run": run.name,
        "trial": best.trial,
        "epoch": best.epoch,
        "metric": spec.objective.metric,
        "mode": spec.objective.mode,
        "value": best.value,
        **({"values": best.values} if best.values else {}),
        "checkpoint": best.checkpoint,
        "trainable": spec.trainable,
        "home": str(Path(run.folder).absolute()),
        "params": {**spec.fixed, **best.params},
        "seed": run.find(best.trial).training_seed(spec.seed),
        "epochs": spec.budget.epochs,
        "precision": spec.precision,
        "tracked": tracked,
    }
