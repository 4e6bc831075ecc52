"""Which of Ray's workers are kept for the next trial, and which are let go."""

from __future__ import annotations

from collections.abc import Set
from typing import Any


class Workers:
    """Has Ray keep free workers, against its own rules: it keeps one, and kills another that is free beside it."""

    def __init__(self) -> None:
        self._shapes: dict[Any, None] = {}
        """What Ray was asked for so far, for one trial each."""
        self._kept = 0
        """Free workers that Ray may keep."""
        self._machines: dict[Any, str] = {}
        """Ray's tracked actor → the machine that it was last heard of from."""

    def keep(self, controller: Any, shape: Any, most: int) -> None:
        """Keep as many as there may be trials for, as long as all trials get the same.

        Where trials differ in what they get Ray does as it likes: a worker that is kept would hold what another kind
        of trial waits for.
        """
        self._shapes.setdefault(shape)
        keep = most if len(self._shapes) == 1 else 0
        cache, first = controller._actor_cache, next(iter(self._shapes))
        if keep > self._kept:
            cache.increase_max(first, keep - self._kept)
        elif keep < self._kept:
            cache.decrease_max(first, self._kept - keep)
        self._kept = keep

    def heard(self, controller: Any, trial: Any, machine: str) -> None:
        """Take in on which machine the worker of a trial is."""
        if (worker := controller._trial_to_actor.get(trial)) is not None:
            self._machines[worker] = machine

    def leave(self, controller: Any, machines: Set[str]) -> None:
        """Let go the free ones on machines that are about to be taken away, before they get another trial."""
        cache = controller._actor_cache
        for free in cache._cached_objects.values():
            for worker in [worker for worker in free if self._machines.get(worker) in machines]:
                free.remove(worker)
                cache._num_cached_objects -= 1
                worker.set_on_stop(None)
                worker.set_on_error(None)
                controller._remove_actor(tracked_actor=worker)
                del self._machines[worker]
