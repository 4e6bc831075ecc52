"""The random generators behind a trial's loaders: a resumed trial sees the batches it would have seen."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

State = dict[str, Any]
"""A generator's state when it was first seen, and now."""


class Loaders:
    """Knows the generators of all loaders that were iterated, and sets those that a checkpoint holds."""

    def __init__(self, saved: Sequence[State] | None) -> None:
        """Take the states of the checkpoint from which the trial goes on; None where it begins."""
        self._resumed, self._saved = saved is not None, list(saved or ())
        self._seen: list[tuple[Callable[[], torch.Generator | None], torch.Tensor]] = []
        self._training = False

    def begin(self) -> None:
        """Set what was used before the loop: only now does training go on where the checkpoint was written."""
        self._training = True
        for generator, initial in self._alive():
            self._set(generator, initial)

    def meet(self, loader: Iterable[Any]) -> None:
        """Take in a loader that is about to be iterated."""
        known = {id(generator) for generator, _ in self._alive()}
        new = [generator for generator in generators(loader) if id(generator) not in known]
        self._seen += [(_reference(generator), generator.get_state()) for generator in new]
        if self._training and self._resumed:
            _start_workers(loader)
            for generator, initial in self._alive():
                if generator in new:
                    self._set(generator, initial)

    def states(self) -> list[State]:
        """Read the states of all generators that still live."""
        return [{"initial": initial, "now": generator.get_state()} for generator, initial in self._alive()]

    def _alive(self) -> list[tuple[torch.Generator, torch.Tensor]]:
        return [(generator, initial) for ref, initial in self._seen if (generator := ref()) is not None]

    def _set(self, generator: torch.Generator, initial: torch.Tensor) -> None:
        """Set a generator that begins as one in the checkpoint did.

        A loader that is made anew in each epoch, with a seed of its own, begins otherwise and stays as it is.
        """
        for place, state in enumerate(self._saved):
            if state["initial"].shape == initial.shape and bool((state["initial"] == initial).all()):
                generator.set_state(state["now"])
                del self._saved[place]
                return


def generators(loader: Any) -> list[torch.Generator]:
    """Find the generators that a loader, its sampler and its batch sampler draw from."""
    if "torch" not in sys.modules:
        return []
    import torch

    batch_sampler = getattr(loader, "batch_sampler", None)
    holders = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found = (getattr(holder, "generator", None) for holder in holders)
    return list({id(generator): generator for generator in found if isinstance(generator, torch.Generator)}.values())


def _reference(generator: torch.Generator) -> Callable[[], torch.Generator | None]:
    """Refer to a generator without keeping it; older versions of torch (2.9) can only keep it."""
    try:
        return weakref.ref(generator)
    except TypeError:
        return lambda: generator


def _start_workers(loader: Any) -> None:
    """Start workers that live from epoch to epoch: their seed is drawn once, in the first epoch, not when resumed."""
    if not getattr(loader, "persistent_workers", False) or getattr(loader, "_iterator", None) is not None:
        return
    import torch

    state = torch.get_rng_state()
    drawn = [(generator, generator.get_state()) for generator in generators(loader)]
    iter(loader)
    torch.set_rng_state(state)
    for generator, before in drawn:
        generator.set_state(before)


def leave_cpus_to_workers(loader: Any, cpus: int) -> None:
    """Let torch use the CPUs of the trial that the loader's workers leave, one at least."""
    if "torch" not in sys.modules:
        return
    import torch

    workers = getattr(loader, "num_workers", 0)
    if workers or torch.get_num_threads() < cpus:
        torch.set_num_threads(max(1, cpus - workers))
