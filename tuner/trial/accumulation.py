"""Smaller batches, same steps: each batch comes in parts, and the gradients of its parts make one step.

For a loss that is a mean over the batch, as torch's are by default, the gradient of the whole batch is the mean of
those of its parts, weighted by their sizes. So a tracked optimizer steps once a batch, and the loop stays as it is:
what the parts before the last one give is put aside, where clipping does not see it, and added to what that one gives.
Layers that mix the samples of a batch (BatchNorm) do see the smaller parts.

With several ranks DistributedDataParallel averages what it finds: nothing where a part was put aside, and all of the
batch in the last part. So it has to be as `trial.prepare` makes it, and every rank has to make as many backward passes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tuner.trial.ranks import Ranks
from tuner.trial.tracked import kind_of

if TYPE_CHECKING:
    import torch

    Gradients = dict[torch.nn.Parameter, torch.Tensor]


class Accumulation:
    """Splits batches, and holds back what is to be done once a batch until its last part."""

    def __init__(self, parts: int, ranks: Ranks | None = None) -> None:
        self.parts, self._ranks = parts, ranks or Ranks()
        self.largest = 0
        """Samples in the largest batch that could be split."""
        self._waits = False
        """A part that is not the last one of its batch is being trained."""
        self._inside = False
        self._weight = 1.0
        self._gated: list[Any] = []
        self._watched: set[torch.nn.Parameter] = set()
        self._fresh: Gradients = {}
        """Gradients of this part and of those before it, which no step has asked for as yet."""
        self._stepped: Gradients = {}
        """Those that a step has asked for, and that wait for the last part."""

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of a loader: in parts where gradients are wanted, and not within a batch in parts."""
        parts = self.parts if self._averaged(self._gated) else 1
        for batch in loader:
            if self._inside or not _wants_gradients():
                yield batch
                continue
            size = _size(batch)
            self.largest = max(self.largest, size or 0)
            if parts == 1 or (self._ranks.ranks == 1 and (size is None or size < 2)):
                yield batch
            else:
                yield from self._in_parts(_cut(batch, size, parts, exactly=self._ranks.ranks > 1))

    def _in_parts(self, cut: list[tuple[Any, float]]) -> Iterator[Any]:
        for thing in self._gated:
            self._watch(thing)
        with self._models_gated():
            try:
                for i, (part, weight) in enumerate(cut):
                    self._inside, self._waits, self._weight = True, i < len(cut) - 1, weight
                    yield part
            finally:
                self._inside = self._waits = False
                self._hand_over([*self._fresh, *self._stepped])

    def could_split(self, things: Iterable[Any]) -> bool:
        """Tell whether batches in more parts would be trained to the same end; `things` are all that is tracked."""
        things = list(things)
        return self.largest >= 2 * self.parts and can_split(things) and self._averaged(things)

    def tell_of_mixing(self, things: Iterable[Any]) -> None:
        """Print that parts are not trained as a whole batch is, where one of these things makes them differ."""
        if self.parts > 1 and mixes_samples(things):
            print(f"note: batches come in {self.parts} parts for lack of memory, and BatchNorm sees the parts")

    def _averaged(self, things: Iterable[Any]) -> bool:
        """Tell whether all that is stepped is averaged over the ranks by what `trial.prepare` has made.

        With find_unused_parameters, static_graph or gradient_as_bucket_view the parts do not add up to the batch.
        """
        if self._ranks.ranks == 1:
            return True
        known = {parameter for model in self._ranks.prepared for parameter in model.parameters()}
        return all(one in known for thing in things if kind_of(thing) == "optimizer" for one in _parameters(thing))

    def gate(self, thing: Any) -> None:
        """Let an object act once a batch: an optimizer, a schedule, a scaler of gradients."""
        if self.parts == 1 or "torch" not in sys.modules or any(thing is known for known in self._gated):
            return
        import torch

        self._gated.append(thing)
        if (kind := kind_of(thing)) == "optimizer":
            _replace(thing, "step", functools.partial(self._step, thing))
            _replace(thing, "zero_grad", functools.partial(self._zero, thing))
        elif isinstance(thing, torch.amp.GradScaler):
            for name in ("step", "unscale_", "update"):
                _replace(thing, name, self._once_a_batch)
        elif kind == "scheduler":
            _replace(thing, "step", self._once_a_batch)

    @contextlib.contextmanager
    def _models_gated(self) -> Iterator[None]:
        """Gate what models do, for the time of a batch, in their classes: a model may be copied or pickled."""
        from torch.nn import Module
        from torch.optim.swa_utils import AveragedModel

        zero, average = Module.zero_grad, AveragedModel.update_parameters

        def zero_grad(model: Any, *args: Any, **kwargs: Any) -> None:
            self._zero(model, functools.partial(zero, model, *args, **kwargs))

        def update_parameters(model: Any, *args: Any, **kwargs: Any) -> None:
            self._once_a_batch(functools.partial(average, model, *args, **kwargs))

        Module.zero_grad = zero_grad  # type: ignore[method-assign, assignment]
        AveragedModel.update_parameters = update_parameters  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            Module.zero_grad = zero  # type: ignore[method-assign]
            AveragedModel.update_parameters = average  # type: ignore[method-assign]

    def _watch(self, thing: Any) -> None:
        for parameter in _parameters(thing):
            if parameter.requires_grad and parameter not in self._watched:
                self._watched.add(parameter)
                parameter.register_hook(self._scaled)  # type: ignore[no-untyped-call]
                parameter.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]

    def _scaled(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * self._weight if self._inside else gradient

    def _arrived(self, parameter: torch.nn.Parameter) -> None:
        """Put a gradient aside, or in the last part add to it what was."""
        if self._inside and not self._waits:
            self._hand_over([parameter])
        elif self._waits and parameter.grad is not None:
            _add(self._fresh, parameter, parameter.grad)
            parameter.grad = None

    def _hand_over(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        for parameter in parameters:
            for kept in (self._fresh, self._stepped):
                if (gradient := kept.pop(parameter, None)) is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)

    def _zero(self, thing: Any, act: Callable[[], Any], *_: Any) -> Any:
        for parameter in _parameters(thing):
            self._fresh.pop(parameter, None)
        return act()

    def _step(self, optimizer: torch.optim.Optimizer, act: Callable[[], Any], closure: Any = None) -> Any:
        """Step in the last part; before it, remember that a step has asked for the gradients there are."""
        if not self._waits:
            if closure is None:  # else it throws away what is there, and what it computes meets what was put aside
                self._hand_over(_parameters(optimizer))
            return act()
        loss = _with_gradients(closure) if closure is not None else None
        for parameter in _parameters(optimizer):
            if (gradient := self._fresh.pop(parameter, None)) is not None:
                _add(self._stepped, parameter, gradient)
        return loss

    def _once_a_batch(self, act: Callable[[], Any], *arguments: Any) -> Any:
        """Act in the last part alone; what a scaler does to an optimizer it does to all gradients at once."""
        for optimizer in (one for one in arguments if any(one is known for known in self._gated)):
            if self._waits:
                optimizer.step()
            else:
                self._hand_over(_parameters(optimizer))
        return None if self._waits else act()


def mixes_samples(things: Iterable[Any]) -> bool:
    """Tell whether a model has layers to which it matters how large a batch is."""
    if "torch" not in sys.modules:
        return False
    import torch

    batch_norm = torch.nn.modules.batchnorm._BatchNorm
    models = (thing for thing in things if isinstance(thing, torch.nn.Module))
    return any(isinstance(layer, batch_norm) for model in models for layer in model.modules())


def can_split(things: Iterable[Any]) -> bool:
    """Tell whether a step can be made of parts: not where the optimizer itself evaluates the loss, again and again."""
    if "torch" not in sys.modules:
        return False
    import torch

    optimizers = [thing for thing in things if isinstance(thing, torch.optim.Optimizer)]
    return bool(optimizers) and not any(isinstance(one, torch.optim.LBFGS) for one in optimizers)


def _parameters(thing: Any) -> list[torch.nn.Parameter]:
    """List what an optimizer steps, or what a model holds."""
    groups = getattr(thing, "param_groups", None)
    if groups is not None:
        return [parameter for group in groups for parameter in group["params"]]
    return list(thing.parameters()) if hasattr(thing, "parameters") else []


def _add(kept: Gradients, parameter: torch.nn.Parameter, gradient: torch.Tensor) -> None:
    kept[parameter] = kept[parameter].add_(gradient) if parameter in kept else gradient


def _replace(thing: Any, name: str, gate: Callable[..., Any]) -> None:
    """Let a gate decide whether a method of an object acts: it gets the call, and what it was called with."""
    original = getattr(thing, name)

    @functools.wraps(original)
    def gated(self: Any, *args: Any, **kwargs: Any) -> Any:
        closure = {"closure": kwargs["closure"]} if "closure" in kwargs else {}
        return gate(functools.partial(original, *args, **kwargs), *args, **closure)

    if hasattr(thing, "param_groups"):
        setattr(thing, name, types.MethodType(gated, thing))  # a method: a schedule that is made later looks for one
    else:
        # The state of a schedule is all that it has, so a method of its own would be saved: its class gets it.
        kind = type(thing)
        thing.__class__ = type(kind.__name__, (kind,), {"__module__": kind.__module__, name: gated})


def _wants_gradients() -> bool:
    """Tell whether a batch is for training: what is only measured shall count as one batch."""
    return "torch" not in sys.modules or sys.modules["torch"].is_grad_enabled()


def _with_gradients(closure: Callable[[], Any]) -> Any:
    import torch

    with torch.enable_grad():
        return closure()


def _size(batch: Any) -> int | None:
    """Count the samples of a batch: the first length of all its tensors; None where they do not agree on one."""
    lengths = set(_lengths(batch))
    return lengths.pop() if len(lengths) == 1 else None


def _lengths(batch: Any) -> Iterator[int | None]:
    if hasattr(batch, "shape"):
        yield int(batch.shape[0]) if len(batch.shape) else None
    elif _is_images(batch):
        yield None
    elif isinstance(batch, Mapping | list | tuple):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _lengths(value)


def _cut(batch: Any, size: int | None, parts: int, exactly: bool) -> list[tuple[Any, float]]:
    """Cut a batch into parts, each with its weight; where there must be exactly so many, the whole may come as each."""
    if exactly and (size is None or size < parts):
        return [(batch, 1 / parts)] * parts
    assert size is not None
    count = min(parts, size)
    bounds = [round(i * size / count) for i in range(count + 1)]
    return [(_part(batch, *ends, size), (ends[1] - ends[0]) / size) for ends in itertools.pairwise(bounds)]


def _is_images(batch: Any) -> bool:
    """Tell whether a list has an image for each sample, as `collate_fn=list` makes it: first axes are channels."""
    shapes: list[Any] = [getattr(one, "shape", ()) for one in batch] if isinstance(batch, list | tuple) else []
    return bool(shapes) and all(len(shape) == 3 and shape[0] in (1, 3, 4) for shape in shapes)


def _part(value: Any, begin: int, end: int, size: int) -> Any:
    """Cut out the samples from `begin` up to `end`; what does not have one entry a sample stays whole."""
    if hasattr(value, "shape"):
        return value[begin:end] if len(value.shape) and value.shape[0] == size else value
    if isinstance(value, Mapping):
        return type(value)({key: _part(item, begin, end, size) for key, item in value.items()})  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_part(item, begin, end, size) for item in value))
    if isinstance(value, list | tuple):
        if len(value) == size and not any(hasattr(item, "shape") for item in value):
            return value[begin:end]
        return type(value)(_part(item, begin, end, size) for item in value)
    return value
