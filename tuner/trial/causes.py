"""Why memory grows from batch to batch, as the living tensors and the variables of the user's functions tell it."""

from __future__ import annotations

import gc
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from tuner.trial.variables import Key, Variable, locals_of, members, variables_of

if TYPE_CHECKING:
    import torch

GRAPH = 100_000
"""So many nodes of a graph are looked at, at most."""
SUM = ("AddBackward", "SubBackward", "MulBackward", "DivBackward")
"""Nodes of the graph that running sums and averages consist of."""
A_BATCH, EXPLAINS = 0.5, 0.5
"""What becomes more by so many a batch counts, and explains the growth where it is this part of it."""
ANY = -1
"""A length that is not the same in all tensors of a kind."""
ALWAYS, PASSES, MANY, NEVER = 0, 3, 10, sys.maxsize
"""Through so many passes it must go on: what is never meant, what may be meant for one or two, what is not understood
(a heap with holes grows for some time), and what ends by itself."""
NO_GRAPHS = "wrap it in torch.no_grad() or torch.inference_mode()"
VALIDATION = f"the model is in eval mode and its outputs have graphs: if this is validation, {NO_GRAPHS}"
IF_MEANT = ", or call backward after fewer batches if it is still to come"


@dataclass(frozen=True, slots=True)
class Kind:
    """What tensors have in common that are kept one a batch."""

    gpu: bool
    graph: bool
    shape: tuple[int, ...]
    size: int
    """Bytes of the storage behind it, which a view keeps as a whole."""

    def has(self, thing: Any) -> bool:
        """Tell whether a thing is of this kind."""
        one = _kind(thing)
        return one is not None and (one == self or (ANY in self.shape and _of_any_shape(one) == _of_any_shape(self)))


@dataclass(frozen=True, slots=True)
class Census:
    """The living tensors at one moment, in numbers: what is counted must not be kept for that."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    sums: Counter[Key] = field(default_factory=Counter)
    """A variable that holds a value with a graph → how many sums it is made of."""
    held: Counter[Key] = field(default_factory=Counter)
    """A variable that is a container → how many tensors it holds."""
    versions: Counter[int] = field(default_factory=Counter)
    """What is trained, by its id → how often it, its gradient and what its optimizer keeps for it were changed."""
    moment: int = 0
    """The number of the next node of a graph."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What is most likely kept, and what to do about it."""

    text: str
    passes: int


def count(frames: Sequence[FrameType]) -> Census:
    """Count the living tensors, and what the variables of these frames hold and are summed up from."""
    gc.collect()  # what only waits for the collector is not kept
    census = Census(moment=_moment())
    for thing in gc.get_objects():
        if (kind := _kind(thing)) is not None:
            census.kinds[kind] += 1
            if thing.is_leaf and thing.requires_grad and not thing.is_inference():
                census.versions[id(thing)] += thing._version + (0 if thing.grad is None else 1 + thing.grad._version)
        elif issubclass(type(thing), sys.modules["torch"].optim.Optimizer):
            census.versions.update(_kept_versions(thing))
    for one in variables_of(frames):
        if _has_graph(one.value):
            census.sums[one.key] = _sums(one.value)
        elif number := sum(_kind(member) is not None for member in members(one.value)):
            census.held[one.key] = number
    return census


class Comparison:
    """Two counts, so many batches apart, where memory grows by `rate` a batch.

    `at_error`: only what a variable holds counts, for what the failing batch needs lives as well.
    """

    def __init__(
        self, before: Census, after: Census, frames: Sequence[FrameType], batches: int, at_error: bool = False
    ) -> None:
        self._before, self._after, self._batches, self._at_error = before, after, batches, at_error
        self._variables = list(variables_of(frames))
        held, sums = after.held - before.held, after.sums - before.sums
        self._holders = [one for one in self._variables if self._counts(held[one.key])]
        self._sums = [one for one in self._variables if self._counts(sums[one.key])]

    def _counts(self, more: int) -> bool:
        return more >= A_BATCH * self._batches

    def cause(self, rate: float, gpu: bool) -> Cause | None:
        """Find what has become more: of one kind, or where that says nothing, of whatever shape."""
        for more in (self._after.kinds - self._before.kinds, _more_of_any_shape(self._before, self._after)):
            kinds = [kind for kind, n in more.items() if self._counts(n)]
            graphs = [kind for kind in kinds if kind.graph]
            plain = {kind: more[kind] * kind.size for kind in kinds if not kind.graph and kind.gpu == gpu}
            if found := self._with_graph(graphs) or self._plain(plain, EXPLAINS * rate * self._batches):
                return found
        return None

    def _with_graph(self, kinds: Sequence[Kind]) -> Cause | None:
        """Name what holds graphs: a variable with one tensor a batch, else one that is a running sum."""
        if not kinds and not self._sums:
            return None
        held = ((kind, self._holder(kind)) for kind in sorted(kinds, key=lambda kind: math.prod(map(abs, kind.shape))))
        kind, holder = next(((kind, holder) for kind, holder in held if holder is not None), (None, None))
        where = holder or next(iter(self._sums), None)
        if where is None and self._at_error:
            return None
        stale = where is not None and self._is_stale(next(filter(_has_graph, [where.value, *members(where.value)])))
        if not stale and _validates(self._variables):
            return Cause(f"validation builds graphs: {NO_GRAPHS}", ALWAYS)
        more, passes = ("", ALWAYS) if stale else (IF_MEANT, PASSES)
        if kind is not None and any(length != 1 for length in kind.shape):
            return Cause(
                f"an output is kept with its graph, in {where}: keep output.detach(), not output{more}", passes
            )
        fix = f"add loss.item() or loss.detach(), not loss{more}"
        return Cause(f"a loss is kept with its graph{f', in {where}' if where else ''}: {fix}", passes)

    def _is_stale(self, value: torch.Tensor) -> bool:
        """Tell whether a value is older than a change of what it was computed from: no backward is to come."""
        before, after = self._before.versions, self._after.versions
        if min(map(_number, [value.grad_fn, *_nodes(value, SUM)])) >= self._before.moment:
            return False
        leaves = (id(node.variable) for node in _nodes(value) if hasattr(node, "variable"))
        return any(leaf in before and before[leaf] != after[leaf] for leaf in leaves)

    def _plain(self, kinds: Mapping[Kind, int], least: float) -> Cause | None:
        """Name what holds tensors without graphs, if they explain so many bytes of growth."""
        holders = {kind: self._holder(kind) for kind in kinds}
        unheld = () if self._at_error else [kind for kind in kinds if ANY not in kind.shape]
        kinds = {kind: size for kind, size in kinds.items() if holders[kind] is not None or kind in unheld}
        if not kinds or sum(kinds.values()) < least:
            return None
        kind = max(kinds, key=lambda kind: kinds[kind])
        return self._kept(kind, holders[kind])

    def _kept(self, kind: Kind, holder: Variable | None) -> Cause:
        number = sum(map(kind.has, members(holder.value))) if holder else self._after.kinds[kind]
        shape = "of many shapes" if ANY in kind.shape else f"of shape {'x'.join(map(str, kind.shape)) or '()'}"
        where = "on the GPU" if kind.gpu else "in the machine's memory"
        fix = "move them to the CPU with .cpu(), or reduce them" if kind.gpu else "reduce them, or write them to a file"
        what = f"the {type(holder.value).__name__} {holder}" if holder else "a list"
        full = getattr(holder.value, "maxlen", None) if holder else None
        until = f" until it is full, at {full}" if full else ""
        passes = NEVER if full else PASSES if holder else MANY
        return Cause(f"{what} of {number} tensors {shape} {where} grows{until}: {fix}", passes)

    def _holder(self, kind: Kind) -> Variable | None:
        """Find the variable that holds most of the tensors of a kind, at least two, of those that hold more now."""
        numbers = ((one, sum(map(kind.has, members(one.value)))) for one in self._holders)
        held = [(number, not issubclass(type(one.value), dict), one) for one, number in numbers if number > 1]
        return max(held, key=lambda entry: entry[:2], default=(0, False, None))[
            2
        ]  # rather the list than the dict around


def validates_with_graph(frames: Sequence[FrameType]) -> bool:
    """Tell whether a model in eval mode was at work, and made what only a backward pass needs."""
    import torch

    at_work: list[Any] = [locals_of(frame).get("self") for frame in frames]
    models = [one for one in at_work if issubclass(type(one), torch.nn.Module) and any(True for _ in one.parameters())]
    if not models or any(model.training for model in models):
        return False
    inside = frames[: 1 + max(i for i, one in enumerate(at_work) if one is models[-1])]
    return any(_has_graph(value) for frame in inside for value in locals_of(frame).values())


def _validates(variables: Iterable[Variable]) -> bool:
    """Tell whether all models that have something to train are in eval mode; a loss function says nothing about it."""
    import torch

    models = [one.value for one in variables if issubclass(type(one.value), torch.nn.Module)]
    modes = [model.training for model in models if any(True for _ in model.parameters())]
    return bool(modes) and not any(modes)


def _kind(thing: Any) -> Kind | None:
    """Tell the kind of a tensor; None for anything else. Its type alone is asked: other things answer as they like."""
    torch = sys.modules["torch"]
    if not issubclass(type(thing), torch.Tensor):
        return None
    try:
        shape, size = tuple(thing.shape), thing.untyped_storage().nbytes()
        if not all(isinstance(length, int) for length in (*shape, size)):
            return None  # of a size that is a symbol: torch.export leaves such, and they hold no memory
        return Kind(thing.is_cuda, thing.grad_fn is not None, shape, size)
    except Exception:  # a tensor without storage: sparse, fake, or half made
        return None


def _of_any_shape(kind: Kind) -> Kind:
    return replace(kind, shape=(ANY,) * len(kind.shape), size=0)


def _more_of_any_shape(before: Census, after: Census) -> Counter[Kind]:
    """Count what has become more where tensors of as many dimensions are of one kind, as large as the mean of them."""
    numbers, sizes = Counter[Kind](), Counter[Kind]()
    for sign, census in ((1, after), (-1, before)):
        for kind, n in census.kinds.items():
            if kind.shape:
                numbers[_of_any_shape(kind)] += sign * n
                sizes[_of_any_shape(kind)] += sign * n * kind.size
    return Counter({replace(kind, size=sizes[kind] // n): n for kind, n in numbers.items() if n > 0})


def _has_graph(thing: Any) -> bool:
    kind = _kind(thing)
    return kind is not None and kind.graph


def _kept_versions(optimizer: torch.optim.Optimizer) -> dict[int, int]:
    """Tell how often what is kept for each parameter was changed: fused ones change the parameter without a trace."""
    return {
        id(one): sum(getattr(kept, "_version", 0) for kept in state.values()) for one, state in optimizer.state.items()
    }


def _moment() -> int:
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        return _number(torch.ones((), requires_grad=True).clone().grad_fn)


def _number(node: Any) -> int:
    """Tell when a node was made: those of a thread are numbered."""
    return int(node._sequence_nr())


def _sums(tensor: torch.Tensor) -> int:
    """Count the sums that a value was made of: a loss itself is made of few, a running sum of one a batch."""
    return sum(node.name().startswith(SUM[:2]) for node in _nodes(tensor, SUM))


def _nodes(tensor: torch.Tensor, names: tuple[str, ...] = ("",)) -> Iterator[Any]:
    """Yield the nodes of a value's graph, as far as nodes of these names lead."""
    nodes: list[Any] = [tensor.grad_fn]
    seen: set[Any] = set()
    while nodes and len(seen) < GRAPH:
        node = nodes.pop()
        if node is None or node in seen or not node.name().startswith(names):
            continue
        seen.add(node)
        yield node
        nodes += [after for after, _ in node.next_functions]
