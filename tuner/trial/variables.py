"""The variables of the user's functions, and what they hold."""

from __future__ import annotations

import inspect
import linecache
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any

FRAMES, MEMBERS = 16, 256
"""So many frames, and members of an object, are looked at, at most."""
OURS = ("tuner.trial", "tuner.slot")
Key = tuple[str, CodeType]


@dataclass(frozen=True, slots=True)
class Variable:
    """A name in a user's function, and what it stands for."""

    name: str
    value: Any
    frame: FrameType

    def __str__(self) -> str:
        code = self.frame.f_code
        file, line = code.co_filename.rpartition("/")[2], _line(self.frame, self.name)
        return f"`{self.name}` ({file}:{line})" if line else f"`{self.name}` (in {code.co_name}, {file})"

    @property
    def key(self) -> Key:
        """Name it in a way that is the same at another moment."""
        return self.name, self.frame.f_code


def frames_below(frame: FrameType | None) -> list[FrameType]:
    """List the frames of the user's functions, the innermost first: what lies between ours and ours."""
    found: list[FrameType] = []
    while frame is not None and len(found) < FRAMES and not (found and _is_ours(frame)):
        if not _is_ours(frame):
            found.append(frame)
        frame = frame.f_back
    return found


def frames_of(traceback: TracebackType | None) -> list[FrameType]:
    """List the frames of an error that are not ours, the innermost first."""
    found: list[FrameType] = []
    while traceback is not None:
        found.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return [frame for frame in reversed(found) if not _is_ours(frame)]


def frames_around(frames: Sequence[FrameType], loop: CodeType) -> Sequence[FrameType]:
    """List the frames that outlive a batch: the loop's and those around it, else those around the model's.

    What the others hold at an error is what this one batch needs.
    """
    import torch

    starts = [i for i, frame in enumerate(frames) if frame.f_code is loop]
    models = [
        i + 1 for i, frame in enumerate(frames) if issubclass(type(locals_of(frame).get("self")), torch.nn.Module)
    ]
    return frames[starts[0] if starts else max(models, default=0) :]


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(OURS)


def variables_of(frames: Sequence[FrameType]) -> Iterator[Variable]:
    """Yield the variables of frames, of their modules, and what one step leads to from each."""
    modules: set[int] = set()
    for frame in frames:
        for name, value in locals_of(frame).items():
            yield Variable(name, value, frame)
            for step, inner in _inside(value):
                yield Variable(name + step, inner, frame)
        if id(frame.f_globals) not in modules:
            modules.add(id(frame.f_globals))
            yield from (Variable(name, value, frame) for name, value in list(frame.f_globals.items()))


def members(thing: Any) -> Iterator[Any]:
    """Yield what a container holds, and what the containers in it hold."""
    for one in _items(thing):
        yield one
        yield from _items(one)


def _items(thing: Any) -> list[Any]:
    if type(thing) in (list, tuple, set, deque):
        return list(thing)
    return list(thing.values()) if issubclass(type(thing), dict) else []


def locals_of(frame: FrameType) -> dict[str, Any]:
    """Copy a frame's variables: what Python makes to show them would keep these values as long as the frame lives."""
    shown = frame.f_locals
    copied = dict(shown)
    is_function, nobody_else = frame.f_code.co_flags & inspect.CO_OPTIMIZED, 3
    if type(shown) is dict and is_function and sys.getrefcount(shown) <= nobody_else:
        shown.clear()
    return copied


def _inside(value: Any) -> list[tuple[str, Any]]:
    """List the attributes of an object, or the entries of a dictionary by their names."""
    if issubclass(type(value), dict):
        found = [(f"[{key!r}]", inner) for key, inner in list(value.items())[:MEMBERS] if type(key) is str]
    elif isinstance(value, type) or not isinstance(members := getattr(value, "__dict__", None), Mapping):
        return []
    else:
        found = [(f".{name}", inner) for name, inner in list(members.items())[:MEMBERS]]
    return found


def _line(frame: FrameType, name: str) -> int | None:
    """Find the line of a function that adds to a variable."""
    code, word = frame.f_code, re.escape(name.partition("[")[0])
    adds = re.compile(rf"(?<![\w.]){word}(\[.*\])?(\.(append|extend|add)\(|\s*\+=|\[.*\]\s*=|\s*=\s*{word}\b)")
    last = max((line for *_, line in code.co_lines() if line), default=0)
    lines = range(code.co_firstlineno, last + 1)
    return next((line for line in lines if adds.search(linecache.getline(code.co_filename, line))), None)
