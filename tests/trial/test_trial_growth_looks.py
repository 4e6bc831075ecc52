"""Which levels of memory count as growth, how seldom they are looked at, and what an error for lack of memory says."""

from __future__ import annotations

import re
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from tuner.trial import causes, growth
from tuner.trial.causes import MANY, PASSES, Census, Comparison, Kind
from tuner.trial.growth import LEAST, LOOKS, MIB, Gauge, Growth, Series
from tuner.trial.variables import frames_around, frames_below, frames_of

pytestmark = pytest.mark.slow

GIB = 1024 * MIB


class Memory:
    """A gauge that shows what a test says."""

    def __init__(self, part: float = 0.0, size: int = 64 * GIB) -> None:
        self.held, self.reads = 100 * MIB, 0
        self.gauge = Gauge("machine", self.read, lambda: size, part)

    def read(self) -> int:
        self.reads += 1
        return self.held


def first_word(rise: Callable[[int], int], batches: int = 200, memory: Memory | None = None) -> int | None:
    """Tell at which batch growth is certain, where the one before held `rise(batch)` bytes more."""
    memory = memory or Memory()
    series = Series(memory.gauge)
    for batch in range(batches):
        memory.held += rise(batch)
        if series.look() and series.grows(LOOKS):
            return batch
    return None


def test_growth_is_certain_after_enough_looks_and_enough_of_it() -> None:
    assert first_word(lambda batch: 8 * MIB) == LOOKS + 2, "three batches are passed over"
    slow = first_word(lambda batch: MIB, 1000)
    assert slow is not None and slow * MIB > LEAST
    assert first_word(lambda batch: 50 * 1024, 10_000) is not None, "a slow one too, in the long run"


@pytest.mark.parametrize(
    "rise",
    [
        lambda batch: 0,
        lambda batch: 500 * MIB if batch in (0, 1, 5, 30) else 0,  # libraries, the optimizer, a first validation
        lambda batch: int(400 * MIB * 0.9**batch),  # a cache that fills up
        lambda batch: 30 * MIB if batch % 2 else -30 * MIB,  # batches of many lengths
        lambda batch: 8 * MIB if batch % 20 else -152 * MIB,  # kept for an epoch of twenty batches
    ],
)
def test_what_is_no_steady_growth_is_none(rise: Callable[[int], int]) -> None:
    assert first_word(rise, 2000) is None


def test_growth_that_begins_late_and_growth_with_small_dips_are_seen() -> None:
    assert first_word(lambda batch: 8 * MIB if batch > 5000 else 0, 9000) is not None
    assert first_word(lambda batch: 8 * MIB if batch % 10 else -4 * MIB) is not None


def test_on_a_gpu_it_must_be_a_part_of_its_memory() -> None:
    def rise(batch: int) -> int:
        return 4 * MIB if batch < 100 else 0

    assert first_word(rise, memory=Memory(0.02, 8 * GIB)) is not None
    assert first_word(rise, memory=Memory(0.02, 80 * GIB)) is None


def test_a_loop_that_goes_on_is_looked_at_ever_more_seldom() -> None:
    memory = Memory()
    assert first_word(lambda batch: 0, 20_000, memory) is None
    assert memory.reads < 600


@pytest.mark.parametrize(
    ("rises", "size", "lasts"),
    [
        ([20, 20, 20], 64 * GIB, True),
        ([40, 40], 64 * GIB, False),
        ([40, 0, 0, 0], 64 * GIB, False),  # data that were decoded
        ([40, 40, -40, 40, -40, 40], 64 * GIB, False),  # kept until the next pass is over
        ([40], GIB // 2, True),  # it is dangerous
    ],
)
def test_what_lasts_goes_on_from_pass_to_pass(rises: list[int], size: int, lasts: bool) -> None:
    memory = Memory(size=size)
    series = Series(memory.gauge)
    for rise in rises:
        if rise >= 0:
            series.begin_pass()
        for _ in range(abs(rise)):
            memory.held += 8 * MIB if rise > 0 else -8 * MIB
            series.look()
    assert series.lasts(PASSES) == lasts


def test_a_quarter_is_dangerous_on_the_machine_alone_for_a_gpu_ends_in_an_error() -> None:
    assert Memory(size=8 * GIB).gauge.danger() == 2 * GIB
    assert Memory(0.02, 8 * GIB).gauge.danger() > 8 * GIB


def test_all_gpus_are_looked_at_once_cuda_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    stats = {"allocated_bytes": {"all": {"current": 5}}}
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda device: stats)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert growth.held_on_gpu() == 0
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert growth.held_on_gpu() == 10


def test_what_gathers_on_a_gpu_is_to_be_moved() -> None:
    kind = Kind(gpu=True, graph=False, shape=(64, 1000), size=256_000)

    def cause(kind: Kind, number: int, rate: float) -> causes.Cause | None:
        return Comparison(Census(), Census(Counter({kind: number})), [], 40).cause(rate, True)

    assert cause(kind, 40, 256_000.0) == causes.Cause(
        "a list of 40 tensors of shape 64x1000 on the GPU grows: move them to the CPU with .cpu(), or reduce them", MANY
    )
    assert cause(replace(kind, gpu=False), 40, 256_000.0) is None, "that is other memory"
    assert cause(kind, 40, 2_560_000.0) is None, "it is too little"
    assert cause(kind, 9, 256_000.0) is None, "not one a batch"


class Full(nn.Module):
    """A layer for which there is no memory."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def explained(model: nn.Module, function: Callable[[nn.Module], object]) -> str:
    with pytest.raises(torch.OutOfMemoryError) as caught:
        function(model)
    return Growth().explain(caught.value)


def test_a_validation_that_runs_out_of_memory_for_its_graphs_is_told_so() -> None:
    def plainly(model: nn.Module) -> None:
        model(torch.ones(2, 4))

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), Full())
    assert explained(model.eval(), plainly) == causes.VALIDATION
    assert explained(model.eval(), torch.no_grad()(plainly)) == ""
    assert explained(model.eval(), torch.inference_mode()(plainly)) == ""
    assert explained(model.train(), plainly) == ""


def told_at_the_end(monkeypatch: pytest.MonkeyPatch, step: Callable[[int], object]) -> str:
    """Tell what is said when the last of twenty batches, which take ever more, fails for lack of memory."""
    memory, watched = Memory(), Growth()
    monkeypatch.setattr(growth, "MACHINE", memory.gauge)

    def train() -> None:
        for batch in two_generators(two_generators(watched.watch(range(20)))):
            kept = step(batch)  # noqa: F841 - as a loop that keeps what a model gave until the next batch
            memory.held += 16 * MIB

    with pytest.raises(MemoryError) as caught:
        train()
    assert watched.note == ""
    return watched.explain(caught.value)


def fails(batch: int) -> None:
    if batch == 19:
        raise MemoryError


def test_growth_that_was_too_short_for_a_note_is_told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_at_the_end(monkeypatch, Keeper())
    assert "grows by 16 MiB a batch: most likely a loss is kept with its graph, in `step.losses` (" in told
    assert told.endswith(causes.IF_MEANT), "it may be an episode that is too long"


class Deep(nn.Module):
    """A model whose layers give tensors of one kind."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, batch: int) -> list[torch.Tensor]:
        return layers(self.scale, batch)


def layers(scale: torch.Tensor, batch: int) -> list[torch.Tensor]:
    states = [scale * torch.ones(100 + batch)]
    for _ in range(30):
        states.append(states[-1].sigmoid())
    fails(batch)
    return states


class Keeper:
    """Keeps a value with its graph of each batch, and fails in a model."""

    def __init__(self) -> None:
        self.losses, self.model = [], Deep()

    def __call__(self, batch: int) -> None:
        self.losses.append(self.model.scale * 2)
        self.model(batch)


@pytest.mark.parametrize("model", [Deep(), lambda batch: layers(torch.ones(1, requires_grad=True), batch)])
@pytest.mark.parametrize("graph", [True, False])
def test_batches_that_are_sorted_by_length_are_no_leak(
    monkeypatch: pytest.MonkeyPatch, model: Callable[[int], object], graph: bool
) -> None:
    with torch.set_grad_enabled(graph):
        assert told_at_the_end(monkeypatch, model) == ""


def test_where_the_loop_is_not_among_the_frames_what_is_inside_a_model_is_left_out() -> None:
    with pytest.raises(MemoryError) as caught:
        Deep()(19)
    frames = frames_of(caught.value.__traceback__)
    names = [frame.f_code.co_name for frame in frames_around(frames, two_generators.__code__)]
    assert names == ["test_where_the_loop_is_not_among_the_frames_what_is_inside_a_model_is_left_out"]


def test_an_error_without_a_loop_is_explained_by_nothing() -> None:
    error = MemoryError()
    assert Growth().explain(error) == ""


def test_a_buffer_is_said_to_grow_until_it_is_full() -> None:
    buffer = deque(maxlen=150)
    frames = frames_below(sys._getframe())
    before = causes.count(frames)
    buffer.extend(torch.ones(100) for _ in range(40))
    cause = Comparison(before, causes.count(frames), frames, 40).cause(400.0, False)
    assert cause is not None
    assert re.match(r"the deque `buffer` \(.*\) of 40 tensors .* grows until it is full, at 150: ", cause.text)
    assert cause.passes == causes.NEVER


def two_generators(batches):  # type: ignore[no-untyped-def]
    yield from batches
