"""Memory that grows from batch to batch, seen while it happens: a trial is told why before it runs out of it.

Each loop over batches is looked at where a batch begins. A level there that rises at nearly every look, by a steady
amount and by much in all, is no warm-up and no noise of an allocator. Only then the living tensors are counted, twice
with some batches between, and what has become more meanwhile tells the cause (`causes.py`). A loop that goes on for
long is looked at ever more seldom.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any, TypeVar

from tuner.trial import causes
from tuner.trial.causes import MANY, Census, Comparison
from tuner.trial.variables import frames_around, frames_below, frames_of

Batch = TypeVar("Batch")
Place = tuple[CodeType, int, bool]
"""Where a loop stands, and whether it wants gradients."""
MIB = 2**20
FIRST = 3
"""So many batches of a loop are not looked at: optimizers and libraries make what they keep."""
LOOKS, AT_THE_END = 24, 6
"""So many looks show growth, fewer at an error for lack of memory."""
MOST, WIDEST = 64, 64
"""So many looks are kept, so many batches lie between two at most."""
RISING, EVEN = 0.8, (0.35, 0.65)
"""The part of the looks that see more than the one before, and what the first half may have of the growth."""
LEAST, PART, PART_OF_GPU = 64 * MIB, 0.25, 0.02
"""Growth is worth a word from so many bytes on, from this part of what was held before, from this part of the GPU."""
DANGER = 0.25
"""From this part of the machine's memory on it is, whether or not it lasts: a kill may be its end, where the
GPU's ends in an error, which is explained."""
SIGNS_OF_GPU = ("cuda", "cudnn", "cublas", "hip out of memory")
BETWEEN = 8
"""Batches between two counts of the living tensors."""


class Gauge:
    """Memory of one kind: what this process holds of it, and how much there is."""

    def __init__(self, name: str, read: Callable[[], int], size: Callable[[], int], part: float) -> None:
        self.name, self.read, self.size, self._part = name, read, size, part

    def much(self, before: int) -> float:
        """Tell how much growth is worth a word where so much was held before."""
        return max(LEAST, PART * before, self._part * self.size() if self._part else 0)

    def danger(self) -> float:
        """Tell how much growth is dangerous."""
        return math.inf if self._part else DANGER * self.size()


def held_on_gpu() -> int:
    """Measure what tensors hold on the GPUs, in bytes; 0 as long as CUDA is not used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    stats = (torch.cuda.memory_stats_as_nested_dict(i) for i in range(torch.cuda.device_count()))
    return sum(one["allocated_bytes"]["all"]["current"] for one in stats if one)


def size_of_gpu() -> int:
    """Measure the memory of all GPUs that this process sees."""
    cuda = sys.modules["torch"].cuda
    return sum(cuda.get_device_properties(i).total_memory for i in range(cuda.device_count()))


def held_on_machine() -> int:
    """Measure what this process holds for itself, in bytes (Linux; else 0): not what lies in mapped files."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            _, resident, shared, *_ = file.read().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")


def size_of_machine() -> int:
    """Measure the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")


GPU = Gauge("GPU", held_on_gpu, size_of_gpu, PART_OF_GPU)
MACHINE = Gauge("machine", held_on_machine, size_of_machine, 0)


class Series:
    """What a gauge has shown at one point of a loop: the longer it goes on, the more batches between two looks."""

    def __init__(self, gauge: Gauge) -> None:
        self.gauge = gauge
        self._seen = 0
        self._begins: list[int] = []
        """What was held when a pass through the loader began."""
        self.counted: tuple[int, Census] | None = None
        """At which batch the living tensors were counted last, and what there was."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._levels: list[int] = []
        self._stride = 1

    def begin_pass(self) -> None:
        """Take in that the loop begins from the front."""
        self._begins = [*self._begins[1 - MOST :], self.gauge.read()]

    def look(self) -> bool:
        """Take in what is held at the beginning of a batch; tell whether it seems to grow."""
        self._seen += 1
        if self._seen <= FIRST or self._seen % self._stride:
            return False
        level = self.gauge.read()
        if self._levels and level < max(self._levels) - LEAST / 4 and 2 * level < self._levels[0] + max(self._levels):
            self._begin_anew()  # it was given back: what is kept for one pass, say
        self._levels.append(level)
        if len(self._levels) == MOST:
            self._thin_out()
        return self.seems_to_grow()

    def _thin_out(self) -> None:
        if self._stride < WIDEST:
            del self._levels[::2]  # the newest one stays
            self._stride *= 2
        else:
            del self._levels[0]

    def seems_to_grow(self) -> bool:
        """Tell whether a few looks show growth, or many do: it may be too little in a few."""
        return self.grows(AT_THE_END) or self.grows(LOOKS)

    def grows(self, looks: int) -> bool:
        """Tell whether so many looks show growth; there may be more of them, half of all then."""
        levels = self._window(looks)
        return len(levels) >= looks and _rises(levels, self.gauge.much(levels[0]))

    def lasts(self, passes: int) -> bool:
        """Tell whether it goes on from pass to pass: what fills a cache, or is kept for a pass or two, does not.

        In one long pass it counts from the moment that it is dangerous.
        """
        begins, levels = self._begins[-max(passes, len(self._begins) // 2) :], self._window(LOOKS)
        goes_on = len(begins) >= passes and _rises(begins, LEAST / 4)
        return goes_on or levels[-1] - levels[0] >= self.gauge.danger()

    def rate(self, looks: int) -> float:
        """Measure the growth, in bytes a batch."""
        levels = self._window(looks)
        return (levels[-1] - levels[0]) / (len(levels) - 1) / self._stride

    def _window(self, looks: int) -> list[int]:
        return self._levels[-max(looks, len(self._levels) // 2) :]


def _rises(levels: Sequence[int], least: float) -> bool:
    """Tell whether levels rise by so much in all, nearly always and evenly."""
    rise = levels[-1] - levels[0]
    if rise < least:
        return False
    rising = sum(after > before for before, after in itertools.pairwise(levels))
    half = (levels[len(levels) // 2] - levels[0]) / rise
    return rising >= RISING * (len(levels) - 1) and EVEN[0] <= half <= EVEN[1]


class Growth:
    """Looks at the loops of a trial, and says once why its memory grows, if it does."""

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = say
        self.note = ""
        """What was said."""
        self._loops: dict[Place, list[Series]] = {}
        self._seen, self._next, self._wait = 0, 0, LOOKS
        """Batches seen, the one from which on tensors may be counted again, and how many are let pass before that."""
        self._open: Series | None = None
        """What certainly grows, and is counted once more."""

    def watch(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a loader, and look at the memory where each begins."""
        loop = self._loops.setdefault(_place(), [Series(GPU), Series(MACHINE)])
        for series in loop:
            series.begin_pass()
        for batch in loader:
            if not self.note:
                self._seen += 1
                for series in loop:
                    if series.look():
                        with contextlib.suppress(Exception):  # an explanation is not worth a trial
                            self._consider(series)
            yield batch

    def explain(self, error: BaseException) -> str:
        """Explain an error for lack of memory; empty where there is nothing to say."""
        try:
            return self.note or self._explanation(error)
        except Exception:  # there may be no memory for that either
            return ""

    def _consider(self, series: Series) -> None:
        """Count the living tensors, and some batches later once more; then say what has become more, once."""
        frames = frames_below(sys._getframe())
        if not series.grows(LOOKS):
            if series.counted is None:  # an error may come before it is certain
                series.counted = self._seen, causes.count(frames)
        elif self._open is not series:
            if self._seen >= self._next:
                self._next, self._wait = self._seen + self._wait, 2 * self._wait
                self._open, series.counted = series, (self._seen, causes.count(frames))
        elif (counted := series.counted) and self._seen - counted[0] >= BETWEEN and not self.note:
            self._open = None
            comparison = Comparison(counted[1], causes.count(frames), frames, self._seen - counted[0])
            cause = comparison.cause(series.rate(LOOKS), series.gauge is GPU)
            passes = cause.passes if cause else MANY
            if not passes or series.lasts(passes):
                self.note = _sentence(series, LOOKS, cause)
                self.tell(self.note)

    def _explanation(self, error: BaseException) -> str:
        frames = frames_of(error.__traceback__)
        gauge = GPU if any(sign in str(error).lower() for sign in SIGNS_OF_GPU) else MACHINE
        for place, loop in self._loops.items():
            for series in loop:
                if series.gauge is gauge and (cause := self._cause_at_error(series, frames_around(frames, place[0]))):
                    return _sentence(series, AT_THE_END, cause)
        return causes.VALIDATION if causes.validates_with_graph(frames) else ""

    def _cause_at_error(self, series: Series, frames: Sequence[FrameType]) -> causes.Cause | None:
        """Find what a variable holds more of than at the last count; if none does, the batches may be longer now."""
        at, before = series.counted or (self._seen, Census())
        if (batches := self._seen - at) < AT_THE_END or not series.seems_to_grow():
            return None
        comparison = Comparison(before, causes.count(frames), frames, batches, at_error=True)
        return comparison.cause(series.rate(AT_THE_END), series.gauge is GPU)


def say(text: str) -> None:
    """Print a note, at once: a trial that is killed leaves nothing behind that was not written."""
    print(f"note: {text}", flush=True)


def _sentence(series: Series, looks: int, cause: causes.Cause | None) -> str:
    what = f"the {series.gauge.name}'s memory that this trial holds grows by {series.rate(looks) / MIB:.2g} MiB a batch"
    return f"{what}: most likely {cause.text}" if cause else f"{what}; what is kept could not be told"


def _place() -> Place:
    """Find the loop that asks for batches: three generators up."""
    frame: Any = sys._getframe(4)
    torch = sys.modules.get("torch")
    return frame.f_code, frame.f_lineno, torch is None or torch.is_grad_enabled()
