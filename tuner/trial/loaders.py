"""What the order of a trial's loaders hangs on: a resumed trial sees the batches it would have seen."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch.utils.data.distributed import DistributedSampler

APART = 1_000_000
"""So much is added to an epoch for each later pass in it: samplers shuffle by that number, and no two are the same."""


class Loaders:
    """Knows the generators of all loaders that were iterated, sets those that a checkpoint holds, and counts passes."""

    def __init__(self, states: Mapping[str, Any] | None, cloned_at: int = 0) -> None:
        """Take what `states` gave for the checkpoint from which the trial goes on; None where it begins.

        A clone, which became one at an epoch, draws anew: else it saw the batches of its first epochs again each time.
        """
        kept = states or {"loaders": []}
        self.cloned_at = cloned_at or kept.get("cloned_at", 0)
        self._resumed, self._saved = states is not None, list(kept["loaders"])
        self._seen: list[tuple[Callable[[], torch.Generator | None], torch.Tensor]] = []
        self._training = False
        self._passes: weakref.WeakKeyDictionary[DistributedSampler[Any], tuple[int, int]] = weakref.WeakKeyDictionary()
        """The epoch of a sampler's last pass, and how many there were in it."""

    def begin(self) -> None:
        """Set what was used before the loop: only now does training go on where the checkpoint was written."""
        self._training = True
        self._passes.clear()  # what is done before the loop is done again by a trial that goes on
        for generator, initial in self._alive():
            self._go_on(generator, initial)

    def _go_on(self, generator: torch.Generator, initial: torch.Tensor) -> None:
        if not self._set(generator, initial) and self.cloned_at:
            generator.manual_seed((generator.initial_seed() + self.cloned_at) % 2**63)

    def meet(self, loader: Iterable[Any], epoch: int) -> None:
        """Take in a loader that is about to be iterated, in this epoch."""
        if (sampler := dealt_by(loader)) is not None:
            self._shuffle(sampler, epoch)
        known = {id(generator) for generator, _ in self._alive()}
        new = [generator for generator in generators(loader) if id(generator) not in known]
        self._seen += [(_reference(generator), generator.get_state()) for generator in new]
        if self._training and self._resumed:
            _start_workers(loader)
        if self._training:
            for generator, initial in self._alive():
                if generator in new:
                    self._go_on(generator, initial)

    def _shuffle(self, sampler: DistributedSampler[Any], epoch: int) -> None:
        """Have a sampler shuffle anew; a loop of one's own may pass several times before an epoch is reported."""
        last, passes = self._passes.get(sampler, (epoch, 0))
        passes = passes if last == epoch else 0
        sampler.set_epoch(epoch + passes * APART)
        self._passes[sampler] = (epoch, passes + 1)

    def states(self) -> dict[str, Any]:
        """Read the states of all generators that still live, and when this trial became a clone."""
        states = [{"initial": initial, "now": generator.get_state()} for generator, initial in self._alive()]
        return {"loaders": states, "cloned_at": self.cloned_at}

    def _alive(self) -> list[tuple[torch.Generator, torch.Tensor]]:
        return [(generator, initial) for ref, initial in self._seen if (generator := ref()) is not None]

    def _set(self, generator: torch.Generator, initial: torch.Tensor) -> bool:
        """Set a generator that begins as one in the checkpoint did, and tell whether there was one.

        A loader that is made anew in each epoch, with a seed of its own, begins otherwise and stays as it is.
        """
        for place, state in enumerate(self._saved):
            if state["initial"].shape == initial.shape and bool((state["initial"] == initial).all()):
                generator.set_state(state["now"])
                del self._saved[place]
                return True
        return False


def generators(loader: Any) -> list[torch.Generator]:
    """Find the generators that a loader, its sampler and its batch sampler draw from."""
    if "torch" not in sys.modules:
        return []
    import torch

    holders = (loader, *_samplers(loader))
    found = (getattr(holder, "generator", None) for holder in holders)
    return list({id(generator): generator for generator in found if isinstance(generator, torch.Generator)}.values())


def dealt_by(loader: Any) -> DistributedSampler[Any] | None:
    """Find the sampler that deals out a loader's samples to the ranks."""
    if "torch" not in sys.modules:
        return None
    from torch.utils.data.distributed import DistributedSampler

    return next((sampler for sampler in _samplers(loader) if isinstance(sampler, DistributedSampler)), None)


def _samplers(loader: Any) -> list[Any]:
    batch_sampler = getattr(loader, "batch_sampler", None)
    return [getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]


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
