"""A trained model out of its function: run the function up to `trial.track`, with the best state for what it tracks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from tuner.errors import UserError
from tuner.trial import randomness, tracked
from tuner.trial.assignment import Assignment
from tuner.trial.channel import Costs
from tuner.trial.trial import Trial


@dataclass(frozen=True, slots=True)
class Taken:
    """What a function tracks, in its best state."""

    objects: dict[str, Any]
    """By name; models are in eval mode, on the CPU unless the function itself puts them elsewhere."""
    example: tuple[tuple[Any, ...], dict[str, Any]] | None
    """What the function says its model is called with; None where it says nothing."""


def take(
    function: Callable[..., Any], assignment: Assignment, names: Collection[str], read: Callable[[str], Any]
) -> Taken:
    """Run a function until it has tracked the objects of these names, and give each the state that `read` finds.

    The random generators of this process are left as they were. Raises UserError where the function does not track
    them; what the function itself raises passes, with a note.
    """
    before = randomness.capture()
    with tempfile.TemporaryDirectory(prefix="tuner-take-") as folder:
        trial = _Taking(replace(assignment, run=folder, checkpoint=None, epoch=0, gpus=0), names, read)
        randomness.seed_all(assignment.seed)  # what a function draws and does not track is drawn again
        try:
            with contextlib.suppress(_Done):
                function(trial, **assignment.params)
        except Exception as error:
            name = getattr(function, "__qualname__", None) or repr(function)  # functools.partial has none
            error.add_note(f"(raised by {name}, which was run up to its trial.track)")
            raise
        finally:
            randomness.leave_imports_alone()
            randomness.restore(before)
    return Taken(trial.found(), trial.shown)


class _Done(BaseException):
    """All is there: leave the user's function, past its `except Exception`."""


class _Taking(Trial):
    """A trial that ends where its function has tracked what is wanted, or where it would begin to train."""

    def __init__(self, assignment: Assignment, names: Collection[str], read: Callable[[str], Any]) -> None:
        super().__init__(assignment, _Mute())
        self.names, self.read = names, read
        self.shown: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def track(self, **objects: Any) -> None:
        super().track(**objects)
        for name in objects:
            if name in self.names:
                tracked.restore(self._tracked[name], self.read(name))
        if self._tracked.keys() >= set(self.names):
            raise _Done

    def example(self, *inputs: Any, **named: Any) -> None:
        self.shown = (inputs, named)

    def epochs(self) -> Iterator[int]:
        raise _Done

    def report(self, metrics: Mapping[str, Any] | None = None, /, *, epoch: int | None = None, **more: Any) -> NoReturn:
        raise _Done

    def found(self) -> dict[str, Any]:
        """Give what was tracked, models in eval mode; raises UserError where something is missing."""
        if missing := [name for name in self.names if name not in self._tracked]:
            raise UserError(
                f"trial.track: must get {', '.join(missing)} before training begins, as when the run was made, "
                f"but got {', '.join(self._tracked) or 'nothing'}. Use the function as it was then."
            )
        objects = {name: self._tracked[name] for name in self.names}
        for thing in objects.values():
            if tracked.kind_of(thing) == "module":
                thing.eval()
        return objects


class _Mute:
    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, costs: Costs) -> None:
        """Nothing is reported here."""

    def full(self, reason: str) -> None:
        raise OSError(reason)
