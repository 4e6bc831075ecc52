"""How a tracked object takes a saved state: all of it on resume, without its hyperparameters on a clone."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any, Literal

from tuner.errors import UserError

OWN = "trial"
"""Name of the file that holds what the trial itself saves."""
TAKEN = (OWN, "manifest")
Kind = Literal["module", "optimizer", "scheduler", "scaler", "loop", "other"]


class Loop:
    """The state of a training loop that is another library's: it has `state_dict` and `load_state_dict`."""


def check(name: str, thing: Any) -> None:
    """Raise UserError for what cannot be saved, or not under this name."""
    if not callable(getattr(thing, "state_dict", None)) or not callable(getattr(thing, "load_state_dict", None)):
        raise UserError(f"trial.track({name}=...): must have state_dict and load_state_dict, but got {thing!r}.")
    if name in TAKEN or not name.isidentifier():
        raise UserError(f"trial.track({name}=...): must be another name; {' and '.join(TAKEN)} are the trial's own.")


def kind_of(thing: Any) -> Kind:
    """Tell what a tracked object is to training."""
    if isinstance(thing, Loop):
        return "loop"
    if "torch" not in sys.modules:
        return "other"
    import torch

    if isinstance(thing, torch.nn.Module):
        return "module"
    if isinstance(thing, torch.optim.Optimizer):
        return "optimizer"
    if isinstance(thing, torch.optim.lr_scheduler.LRScheduler):
        return "scheduler"
    return "scaler" if isinstance(thing, torch.amp.GradScaler) else "other"


def initial(thing: Any) -> Any:
    """Read what a clone of this trial will need to know of the object as it was made; None where that is nothing."""
    kind = kind_of(thing)
    if kind == "optimizer":
        return [_number(group.get("initial_lr", group.get("lr"))) for group in thing.param_groups]
    return copy.deepcopy(thing.state_dict()) if kind == "scheduler" else None


def initial_by_now(thing: Any, known: Any) -> Any:
    """Read it again: a scheduler made after its optimizer was tracked may have set the initial lr itself."""
    if kind_of(thing) != "optimizer":
        return known
    groups = zip_longest(thing.param_groups, known)  # one may have been added since
    return [_number(group.get("initial_lr", group.get("lr") if lr is None else lr)) for group, lr in groups]


def in_order(tracked: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Order what is to be restored: schedulers last, after their optimizers, since making one may reset the lr."""
    schedulers = [name for name in names if kind_of(tracked[name]) == "scheduler"]
    steered = {id(getattr(tracked[name], "optimizer", None)) for name in schedulers}
    first = [name for name in tracked if name not in schedulers and (name in names or id(tracked[name]) in steered)]
    return first + schedulers


def restore(thing: Any, state: Any, initials: tuple[Any, Any] | None = None) -> None:
    """Give a resumed trial its whole state back; a clone gets the donor's weights and counters.

    A clone keeps its own hyperparameters: `initials` are what `initial` read of this object and of the donor's.
    """
    groups = state.get("param_groups") if kind_of(thing) == "optimizer" else None  # a user's own may have others
    if isinstance(groups, list) and len(thing.param_groups) != (count := len(groups)):
        raise UserError(
            f"trial.track: an optimizer must have as many groups of parameters as in its checkpoint ({count}), but got "
            f"{len(thing.param_groups)}. Make all groups before trial.track, and freeze by requires_grad_(False)."
        )
    if kind_of(thing) == "module" and any("_orig_mod." in key for key in state):  # it was saved as a compiled one
        own_names = thing.state_dict().keys()
        state = {key if key in own_names else key.replace("_orig_mod.", ""): value for key, value in state.items()}
    kind = kind_of(thing) if initials else None
    own, donors = initials or (None, None)
    if kind == "optimizer":
        _clone_optimizer(thing, state, donors)
    elif kind == "scheduler":
        thing.load_state_dict(_merged(own or {}, state, donors or {}))
        for scheduler in (thing, *getattr(thing, "_schedulers", ())):
            scheduler._last_lr = [group["lr"] for group in thing.optimizer.param_groups]
    else:
        thing.load_state_dict(state)


def _clone_optimizer(thing: Any, state: Any, donor_initial: list[float | None] | None) -> None:
    """Set present lr = own initial lr · donor's present lr / donor's initial lr: the donor's place in the schedule."""
    own = [_options(group) for group in thing.param_groups]
    thing.load_state_dict(state)
    for group, mine, first in zip(thing.param_groups, own, donor_initial or [None] * len(own), strict=True):
        now = group.get("lr")
        if "initial_lr" in group and "lr" in mine:
            mine.setdefault("initial_lr", mine["lr"])  # a scheduler that is made later starts from it
        group.update(mine)
        if first and "lr" in mine:
            group["lr"] = mine["lr"] * float(now) / first


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    """Read a group's options as the function set them, before training changed them."""
    options = {key: value for key, value in group.items() if key != "params"}
    return {**options, "lr": group.get("initial_lr", group["lr"])} if "lr" in group else options


def _merged(own: Mapping[str, Any], donor: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Take from the donor's scheduler what has moved since it was made; the rest are hyperparameters, one's own."""
    merged = {}
    for key, value in donor.items():
        if key == "_schedulers":
            inner = made.get(key, [{}] * len(value))
            merged[key] = [_merged(*three) for three in zip(own[key], value, inner, strict=True)]
        elif key in own and (key == "base_lrs" or (key in made and _same(value, made[key]))):
            merged[key] = own[key]
        else:
            merged[key] = value
    return merged


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (RuntimeError, ValueError):  # several tensors or arrays have no one truth
        return False


def _number(lr: Any) -> float | None:
    return None if lr is None else float(lr)
