"""The ranks of a trial: processes that train one model together, and meet in a group of torch.distributed.

What the trial itself tells the other ranks goes over a group of its own, by gloo: it never mixes with the user's
collectives, and waits as long as it takes.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tuner.errors import UserError
from tuner.trial.assignment import Assignment

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""By one of these a process is told which GPUs are its own."""
PATIENCE = timedelta(days=365)
"""A rank waits while another waits for a decision, or for room on a full disk."""
LOST = ("gloo/", "nccl", "connection closed by peer", "connection reset by peer")
"""Parts of what torch.distributed says where another rank is gone."""


class Ranks:
    """The ranks of a trial, seen from one of them; by default it is the only one."""

    def __init__(self, rank: int = 0, ranks: int = 1, group: dist.ProcessGroup | None = None) -> None:
        self.rank, self.ranks, self._group = rank, ranks, group
        self.prepared: weakref.WeakSet[DistributedDataParallel] = weakref.WeakSet()
        """The models that `trial.prepare` has wrapped."""

    def gather(self, mine: Any) -> list[Any]:
        """Give each rank what all have; every rank has to call it."""
        if self.ranks == 1:
            return [mine]
        import torch.distributed as dist

        gathered: list[Any] = [None] * self.ranks
        dist.all_gather_object(gathered, mine, group=self._group)
        return gathered

    def agree(self, epoch: int, metrics: Mapping[str, float], mine: Any) -> tuple[dict[str, float], list[Any]]:
        """Meet for a report; returns the metrics' means, and what else each rank gave. Raises UserError."""
        met = self.gather((epoch, metrics, mine))
        _refuse_different([_reports(epoch) for epoch, *_ in met])
        _refuse_different([f"reports {', '.join(sorted(metrics))}" for _, metrics, _ in met])
        means = {name: _mean([metrics[name] for _, metrics, _ in met]) for name in metrics}
        return means, [given for *_, given in met]

    def own_of(self, saved: Mapping[str, Any]) -> dict[str, Any] | None:
        """Find the random states of this rank in a checkpoint; None where there were fewer ranks."""
        states = [saved, *saved.get("other_ranks", ())]
        return dict(states[self.rank]) if self.rank < len(states) else None

    def part(self) -> None:
        """Meet for the last time, when the function has returned; raises UserError where another trains on."""
        if self.ranks == 1:
            return
        import torch.distributed as dist

        try:  # also where the function has taken the process group down: on another rank it may not have
            met = self.gather((None, {}, None))
        except (RuntimeError, ValueError):
            if dist.is_initialized():
                raise
        else:
            _refuse_different([_reports(epoch) for epoch, *_ in met])


def join(assignment: Assignment) -> Ranks:
    """Meet the other ranks of this trial, and make the process group that user code finds."""
    if assignment.ranks == 1:
        return Ranks()
    import torch
    import torch.distributed as dist

    on_gpus = bool(assignment.gpus) and torch.cuda.is_available()
    if on_gpus and not any(name in os.environ for name in DEVICES):  # they would all use the first
        raise UserError(
            f"resources.gpus: each rank must be told its GPU, but its environment has none of {', '.join(DEVICES)}. "
            "Set one of them where Ray is started, or write ranks: 1."
        )
    # They are all on one machine, whose name need not resolve.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.FileStore(assignment.meeting, assignment.ranks)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    dist.init_process_group(backend, store=store, rank=assignment.rank, world_size=assignment.ranks)
    own = dist.new_group(backend="gloo", timeout=PATIENCE)
    return Ranks(assignment.rank, assignment.ranks, own)


def is_echo(error: BaseException | None) -> bool:
    """Tell whether an error says no more than that another rank is gone, or came of one that does."""
    if error is None:
        return False
    text = str(error).lower()
    if isinstance(error, RuntimeError) and any(part in text for part in LOST):
        return True
    return is_echo(error.__cause__ or error.__context__)


def _reports(epoch: int | None) -> str:
    return "returns from the function" if epoch is None else f"reports epoch {epoch}"


def _refuse_different(done: list[str]) -> None:
    """Raise UserError where the ranks do different things; each rank raises the same."""
    if len(set(done)) > 1:
        other = next(rank for rank, what in enumerate(done) if what != done[0])
        raise UserError(
            f"trial.report: all ranks must report the same names for the same epochs, but rank 0 {done[0]} and "
            f"rank {other} {done[other]}. Call it on every rank."
        )


def _mean(values: list[float]) -> float:
    """Take the mean; of equal numbers exactly that number."""
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)
