"""The best model of a run, ready for use: made by its own function, from the folder `best/` alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import Problem, UserError
from tuner.outputs.best import MANIFEST, VERSION
from tuner.storage import BEST, is_url

if TYPE_CHECKING:
    import torch

    from tuner.trial import Assignment


def load_best(
    run: str | Path,
    *names: str,
    map_location: str | torch.device = "cpu",
    trainable: Callable[..., Any] | None = None,
) -> Any:
    """Give the best model of a run with its trained weights, in eval mode.

    The trainable is run with the best params up to its `trial.track`, then left. `run` is a run's folder, its name
    under `runs/`, its URL, or its folder `best/` wherever that was copied to. Without `names` the only tracked model is
    given, or a dict of several; with names those tracked objects in this order, preprocessing among them: one object
    for one name, a tuple for several. `trainable` is the function itself, where it cannot be imported. Raises
    UserError where there is no best yet, nothing of that name was tracked, or the function is not found.
    """
    with tempfile.TemporaryDirectory(prefix="tuner-best-") as scratch:
        folder = _folder(run, Path(scratch))
        manifest = _manifest(folder)
        wanted = list(names) or _models(folder, manifest)
        _check_names(folder, manifest, wanted)
        objects = _take(folder, manifest, wanted, trainable or _function(folder, manifest))
    for name, thing in objects.items():
        if manifest["tracked"][name]["kind"] == "module":
            thing.to(map_location)
    if len(wanted) == 1:
        return objects[wanted[0]]
    return tuple(objects[name] for name in names) if names else objects


def _folder(run: str | Path, scratch: Path) -> Path:
    """Find `best/`; that of a run at a URL is fetched."""
    if is_url(run):
        return _fetched(str(run).rstrip("/"), scratch)
    if (Path(run) / MANIFEST).is_file():
        return Path(run)
    if not (Path(run) / BEST / MANIFEST).is_file():
        from tuner.runs import find_run

        run = find_run(run)
    if not (Path(run) / BEST / MANIFEST).is_file():
        fix = "It is written when a run ends; --resume does so for one that was interrupted."
        raise UserError(Problem(str(run), BEST, "must hold the best model, but there is none yet", fix))
    return Path(run) / BEST


def _manifest(folder: Path) -> dict[str, Any]:
    """Read what is known of the best; a checkpoint has a manifest too, which is no such thing."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    if "trainable" not in manifest or "tracked" not in manifest:
        what = f"must be the manifest of a best model, but holds only {', '.join(manifest)}"
        fix = "Give the run's folder, or its folder best/; a checkpoint alone does not know its function."
        raise UserError(Problem(str(folder / MANIFEST), "", what, fix))
    if manifest["version"] != VERSION:
        what = f"must be {VERSION}, which this version of tuner reads, but got {manifest['version']}"
        fix = "Use the version that wrote it, or have --resume of this one write best/ anew."
        raise UserError(Problem(str(folder / MANIFEST), "version", what, fix))
    return manifest


def _fetched(url: str, scratch: Path) -> Path:
    from tuner.errors import ClusterError
    from tuner.storage.transfer import NotWhole, get_folder
    from tuner.storage.url import Objects

    try:
        get_folder(Objects(url), BEST, scratch / BEST, MANIFEST)
    except NotWhole:
        fix = "It is put there when a run ends."
        raise UserError(Problem(url, BEST, "must hold the best model, but there is none yet", fix)) from None
    except OSError as error:
        raise ClusterError(f"{url}: cannot be read: {error}. Check the address, and the credentials.") from error
    return scratch / BEST


def _models(folder: Path, manifest: dict[str, Any]) -> list[str]:
    if models := [name for name, facts in manifest["tracked"].items() if facts["kind"] == "module"]:
        return models
    fix = "Have the trainable call trial.track(model=...), and run it again."
    raise UserError(Problem(str(folder), "", "must hold a model, but the trainable tracked none", fix))


def _check_names(folder: Path, manifest: dict[str, Any], names: list[str]) -> None:
    known = manifest["tracked"]
    if strangers := [name for name in names if name not in known]:
        what = f"must hold {', '.join(strangers)}, but holds {', '.join(known) or 'nothing that was tracked'}"
        raise UserError(Problem(str(folder), "", what, "What is of use in training alone is not kept in it."))


def _function(folder: Path, manifest: dict[str, Any]) -> Callable[..., Any]:
    """Import the trainable: found as a run finds it, else beside `best/`, in the current folder, or on the path."""
    from tuner.api import to_code
    from tuner.spec import bind
    from tuner.spec.modules import BindError

    problem = "it was given from a notebook or a script"
    for place in (bind.home(Path(manifest["home"])), folder):
        try:
            if not manifest["trainable"].startswith(f"{bind.MAIN}:"):
                return to_code(bind.find(manifest["trainable"], place).trainable).load()
        except (BindError, ImportError) as error:
            problem = str(error)
    what = f"must be a function that can be imported, but {manifest['trainable']} cannot: {problem}"
    fix = "Start Python where it can, or give the function itself: load_best(..., trainable=train)."
    raise UserError(Problem(str(folder / MANIFEST), "trainable", what, fix))


def _take(folder: Path, manifest: dict[str, Any], names: list[str], function: Callable[..., Any]) -> dict[str, Any]:
    from tuner.trial import checkpoint
    from tuner.trial.take import take

    def read(name: str) -> Any:
        facts = manifest["tracked"][name]
        path = folder / facts["file"]
        whole = checkpoint.inside(facts["file"]) and path.is_file()
        if not whole or checkpoint.file_facts(path) != {key: facts[key] for key in ("size", "crc32")}:
            fix = "Copy the folder again, or have --resume write it anew."
            raise UserError(Problem(str(path), "", "must be as it was written, but is not, or is not there", fix))
        return checkpoint.load_file(path, name)

    return take(function, _assignment(manifest), names, read).objects


def _assignment(manifest: dict[str, Any]) -> Assignment:
    from tuner.trial import Assignment

    same = {name: manifest[name] for name in ("trial", "params", "seed", "metric", "epochs", "precision")}
    return Assignment(run="", **same)
