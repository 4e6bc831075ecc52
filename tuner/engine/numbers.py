"""Numbers for Ray Tune's actors: the slots of a run, as people see them."""

from __future__ import annotations

from itertools import count
from typing import Any

SLOT = "slot"
"""Key of the config that holds the number of the worker that is made with it."""


def number_workers(manager: Any) -> None:
    """Have Ray Tune's actor manager give each new worker the least number that none of the others has.

    A worker keeps it while it lives. Which trial makes a new worker, and which gets one that is there, only Ray knows,
    and only at this moment.
    """
    if hasattr(manager, "numbers"):
        return
    numbers: dict[Any, int] = {}
    add = manager.add_actor

    def add_numbered(*, kwargs: dict[str, Any], **request: Any) -> Any:
        living = set(manager.all_actors)
        for dead in numbers.keys() - living:
            del numbers[dead]
        number = next(number for number in count() if number not in numbers.values())
        actor = add(kwargs={**kwargs, "config": {**kwargs["config"], SLOT: number}}, **request)
        numbers[actor] = number
        return actor

    manager.numbers, manager.add_actor = numbers, add_numbered
