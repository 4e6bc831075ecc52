"""Why memory grows from batch to batch, as the living tensors and the variables of the user's functions tell it."""

from __future__ import annotations

import gc
import inspect
import linecache
import re
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FRAMES, MEMBERS, GRAPH = 16, 256, 100_000
"""So many frames, members of an object, and nodes of a graph are looked at, at most."""
OURS = ("tuner.trial", "tuner.slot")
SUM = ("AddBackward", "SubBackward", "MulBackward", "DivBackward")
"""Nodes of the graph that running sums and averages consist of."""
A_BATCH, EXPLAINS = 0.5, 0.5
"""What becomes more by so many a batch counts, and explains the growth where it is this part of it."""
VALIDATION = (
    "the model is in eval mode and its outputs have graphs: if this is validation, wrap it in torch.no_grad() or "
    "torch.inference_mode()"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What tensors have in common that are kept one a batch."""

    gpu: bool
    graph: bool
    shape: tuple[int, ...]
    size: int
    """Bytes of the storage behind it, which a view keeps as a whole."""


@dataclass(frozen=True, slots=True)
class Census:
    """The living tensors at one moment, in numbers: what is counted must not be kept for that."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    """A variable that holds a value with a graph → how many sums it is made of."""
    version: int = -1
    """How often the models' parameters were changed."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What is most likely kept, and what to do about it."""

    text: str
    always: bool
    """It is never meant; or else it may be, as long as it ends with the pass through the data."""


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


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(OURS)


def count(frames: Sequence[FrameType]) -> Census:
    """Count the living tensors, and what the variables of these frames are summed up from."""
    gc.collect()  # what only waits for the collector is not kept
    kinds = Counter(kind for thing in gc.get_objects() if (kind := _kind(thing)) is not None)
    variables = list(_variables(frames))
    sums = Counter({str(one): _sums(one.value) for one in variables if _has_graph(one.value)})
    parameters = [parameter for model in _models(variables) for parameter in model.parameters()]
    version = sum(one._version + (one.grad._version if one.grad is not None else 0) for one in parameters)
    return Census(kinds, sums, version)


def find(
    before: Census, after: Census, frames: Sequence[FrameType], batches: int, rate: float, gpu: bool
) -> Cause | None:
    """Find what has become more between two counts, so many batches apart, where memory grows by `rate` a batch."""
    variables = list(_variables(frames))
    more = {kind: n for kind, n in (after.kinds - before.kinds).items() if n >= A_BATCH * batches}
    sums = [name for name, n in (after.sums - before.sums).items() if n >= A_BATCH * batches]
    graphs = [kind for kind in more if kind.graph]
    if graphs or sums:
        if before.version == after.version and _validates(variables):
            return Cause("validation builds graphs: wrap it in torch.no_grad() or torch.inference_mode()", True)
        return _kept_with_graph(sums, graphs, variables)
    plain = {kind: n for kind, n in more.items() if kind.gpu == gpu}
    if sum(n * kind.size for kind, n in plain.items()) < EXPLAINS * rate * batches:
        return None
    return _kept(max(plain, key=lambda kind: plain[kind] * kind.size), after, variables)


def _kept_with_graph(sums: Sequence[str], kinds: Sequence[Kind], variables: Sequence[Variable]) -> Cause:
    """Name what holds the graphs: a variable with one tensor a batch, else one that is a running sum."""
    held = ((kind, _holder(kind, variables)) for kind in sorted(kinds, key=_elements))
    kind, holder = next(((kind, holder) for kind, holder in held if holder is not None), (None, None))
    where = str(holder) if holder else next(iter(sums), "")
    if kind is not None and _elements(kind) > 1:
        return Cause(f"an output is kept with its graph, in {where}: keep output.detach(), not output", True)
    fix = "add loss.item() or loss.detach(), not loss"
    return Cause(f"a loss is kept with its graph{f', in {where}' if where else ''}: {fix}", True)


def _kept(kind: Kind, census: Census, variables: Sequence[Variable]) -> Cause:
    holder = _holder(kind, variables)
    number = sum(_is_of(kind, one) for one in _members(holder.value)) if holder else census.kinds[kind]
    shape = "x".join(map(str, kind.shape)) or "()"
    where = "on the GPU" if kind.gpu else "in the machine's memory"
    fix = "move them to the CPU with .cpu(), or reduce them" if kind.gpu else "reduce them, or write them to a file"
    what = f"the {type(holder.value).__name__} {holder}" if holder else "a list"
    return Cause(f"{what} of {number} tensors of shape {shape} {where} grows: {fix}", kind.gpu)


def validates_with_graph(frames: Sequence[FrameType]) -> bool:
    """Tell whether a model in eval mode was at work, and made what only a backward pass needs."""
    import torch

    at_work: list[Any] = [_locals(frame).get("self") for frame in frames]
    models = [one for one in at_work if issubclass(type(one), torch.nn.Module) and any(True for _ in one.parameters())]
    if not models or any(model.training for model in models):
        return False
    inside = frames[: 1 + max(i for i, one in enumerate(at_work) if one is models[-1])]
    return any(_has_graph(value) for frame in inside for value in _locals(frame).values())


def _validates(variables: Sequence[Variable]) -> bool:
    models = list(_models(variables))
    return bool(models) and not any(model.training for model in models)


def _models(variables: Sequence[Variable]) -> Iterator[torch.nn.Module]:
    """Find the models that have something to train; what only computes a loss says nothing about the mode."""
    import torch

    for model in {
        id(one.value): one.value for one in variables if issubclass(type(one.value), torch.nn.Module)
    }.values():
        if any(True for _ in model.parameters()):
            yield model


def _kind(thing: Any) -> Kind | None:
    """Tell the kind of a tensor; None for anything else. Its type alone is asked: other things answer as they like."""
    torch = sys.modules["torch"]
    if not issubclass(type(thing), torch.Tensor):
        return None
    try:
        size = thing.untyped_storage().nbytes()
        return Kind(thing.is_cuda, thing.grad_fn is not None, tuple(thing.shape), size)
    except Exception:  # a tensor without storage: sparse, fake, or half made
        return None


def _is_of(kind: Kind, thing: Any) -> bool:
    return _kind(thing) == kind


def _elements(kind: Kind) -> int:
    number = 1
    for length in kind.shape:
        number *= length
    return number


def _has_graph(thing: Any) -> bool:
    kind = _kind(thing)
    return kind is not None and kind.graph


def _sums(tensor: torch.Tensor) -> int:
    """Count the sums that a value was made of: a loss itself is made of few, a running sum of one a batch."""
    nodes, found = [tensor.grad_fn], 0
    seen: set[Any] = set()
    while nodes and len(seen) < GRAPH:
        node = nodes.pop()
        if node is None or node in seen or not node.name().startswith(SUM):
            continue
        seen.add(node)
        found += node.name().startswith(SUM[:2])
        nodes += [after for after, _ in node.next_functions]
    return found


def _holder(kind: Kind, variables: Sequence[Variable]) -> Variable | None:
    """Find the variable that holds most of the tensors of a kind, at least two."""
    numbers = ((one, sum(_is_of(kind, member) for member in _members(one.value))) for one in variables)
    held = [(number, not issubclass(type(one.value), dict), one) for one, number in numbers if number > 1]
    return max(held, key=lambda entry: entry[:2], default=(0, False, None))[2]  # rather the list than the dict around


def _members(thing: Any) -> Iterator[Any]:
    """Yield what a container holds, and what the containers in it hold."""
    for one in _items(thing):
        yield one
        yield from _items(one)


def _items(thing: Any) -> list[Any]:
    if type(thing) in (list, tuple, set, deque):
        return list(thing)
    return list(thing.values()) if issubclass(type(thing), dict) else []


def _variables(frames: Sequence[FrameType]) -> Iterator[Variable]:
    """Yield the variables of frames, of their modules, and what one step leads to from each."""
    modules: set[int] = set()
    for frame in frames:
        for name, value in _locals(frame).items():
            yield Variable(name, value, frame)
            for step, inner in _inside(value):
                yield Variable(name + step, inner, frame)
        if id(frame.f_globals) not in modules:
            modules.add(id(frame.f_globals))
            yield from (Variable(name, value, frame) for name, value in list(frame.f_globals.items()))


def _locals(frame: FrameType) -> dict[str, Any]:
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
