"""The best model in the formats of others: safetensors, and a program of torch.export."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.storage import BEST
from tuner.trial import checkpoint
from tuner.trial.assignment import Assignment
from tuner.trial.take import Taken, take

if TYPE_CHECKING:
    import torch


def write(function: Callable[..., Any], assignment: Assignment) -> dict[str, Any]:
    """Write the models of the assignment's checkpoint into the run's `best/`.

    Returns the names of the files that were `written`, and `problems`: of those that could not be, why. A model that
    cannot be saved in a format costs nothing else.
    """
    assert assignment.checkpoint is not None
    source, folder = Path(assignment.run) / assignment.checkpoint, Path(assignment.run) / BEST
    kinds = checkpoint.read_manifest(source).get("kinds", {})
    names = [name for name, kind in kinds.items() if kind == "module"]
    taken = take(function, assignment, names, partial(checkpoint.load, source))
    written, problems = [], {}
    for name, save in _files(taken):
        if problem := _attempt(save, folder / name, like=source / checkpoint.MANIFEST):
            problems[name] = problem
        else:
            written.append(name)
    return {"written": written, "problems": problems}


def _files(taken: Taken) -> list[tuple[str, Callable[[Path], None]]]:
    """List the files to be written, and how; an example says what the only model is called with."""
    models = taken.objects
    stems = ["model"] if len(models) == 1 else list(models)
    files: list[tuple[str, Callable[[Path], None]]] = [
        (f"{stem}.safetensors", partial(save_safetensors, model))
        for stem, model in zip(stems, models.values(), strict=True)
    ]
    if taken.example is not None and len(models) == 1:
        inputs, named = taken.example
        files.append(("model.pt2", partial(export, *models.values(), inputs=inputs, named=named)))
    return files


def _attempt(save: Callable[[Path], None], path: Path, like: Path) -> str:
    """Write a file whole, readable by whoever may read another one, or not at all; tells why not, in one line."""
    temporary = path.with_name(f".{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save(temporary)
        shutil.copymode(like, temporary)  # safetensors writes for its user alone
        temporary.replace(path)
    except Exception as error:  # of torch, of safetensors, or of the model itself
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    finally:
        temporary.unlink(missing_ok=True)
    return ""


def save_safetensors(model: torch.nn.Module, path: Path) -> None:
    """Save a model's weights; tensors that several layers share are saved once."""
    from safetensors.torch import save_model

    save_model(model, str(path), metadata={"format": "pt"})


def export(model: torch.nn.Module, path: Path, *, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Export a model as it computes on an example, for any number of samples where the model allows that.

    Raises where it cannot be exported, or where the program computes something else than the model.
    """
    import torch
    from torch.utils._pytree import tree_leaves, tree_map_only

    inputs, named = tree_map_only(torch.Tensor, lambda tensor: tensor.detach().cpu(), (inputs, named))
    with torch.no_grad():
        shapes = _any_batch(model, inputs, named)
        program = torch.export.export(model, inputs, named, dynamic_shapes=shapes)
        made, meant = program.module()(*inputs, **named), model(*inputs, **named)
        torch.testing.assert_close(tree_leaves(made), tree_leaves(meant))
    torch.export.save(program, path)


def _any_batch(model: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Leave the first axis of all tensors open, by the parameters of `forward`."""
    import torch
    from torch.utils._pytree import tree_map

    def opened(value: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(value, torch.Tensor) and value.ndim else None

    arguments = inspect.signature(model.forward).bind(*inputs, **named).arguments
    return {name: tree_map(opened, value) for name, value in arguments.items()}
