"""How a tracked object takes a saved state: all of it on resume, without its hyperparameters on a clone."""

from __future__ import annotations

import sys
from typing import Any, Literal

Kind = Literal["module", "optimizer", "scheduler", "other"]


def kind_of(thing: Any) -> Kind:
    """Tell what a tracked object is to torch."""
    if "torch" not in sys.modules:
        return "other"
    import torch

    if isinstance(thing, torch.nn.Module):
        return "module"
    if isinstance(thing, torch.optim.Optimizer):
        return "optimizer"
    return "scheduler" if isinstance(thing, torch.optim.lr_scheduler.LRScheduler) else "other"


def initial_options(optimizer: Any) -> list[dict[str, Any]]:
    """Read each group's options as the function set them, before training changed them."""
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return [{**group, "lr": group.get("initial_lr", group["lr"])} if "lr" in group else group for group in groups]


def restore(thing: Any, state: Any) -> None:
    """Give a resumed trial its whole state back."""
    thing.load_state_dict(state)


def restore_clone(thing: Any, state: Any, donor_initial: list[dict[str, Any]] | None) -> None:
    """Give a clone the donor's weights and counters, and let it keep its own hyperparameters.

    present lr = own initial lr · donor's present lr / donor's initial lr: the position in the schedule is the donor's.
    """
    kind = kind_of(thing)
    if kind == "optimizer":
        own = initial_options(thing)
        donor_now = [group.get("lr") for group in state["param_groups"]]
        thing.load_state_dict(state)
        for i, group in enumerate(thing.param_groups):
            group.update(own[i])
            if donor_initial is not None and donor_initial[i].get("lr"):
                group["lr"] = own[i]["lr"] * donor_now[i] / donor_initial[i]["lr"]
    elif kind == "scheduler":
        own_base = list(thing.base_lrs)
        donor_base, donor_last = state["base_lrs"], state["_last_lr"]
        thing.load_state_dict(state)
        thing.base_lrs = own_base
        thing._last_lr = [
            own * last / base if base else last for own, last, base in zip(own_base, donor_last, donor_base, strict=True)
        ]
    else:
        thing.load_state_dict(state)
