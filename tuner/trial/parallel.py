"""Data parallel training: a model on several ranks or GPUs, and for each rank its own part of the data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tuner.errors import UserError
from tuner.trial.loaders import dealt_by
from tuner.trial.ranks import Ranks

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

KEPT = (
    "num_workers", "collate_fn", "pin_memory", "drop_last", "timeout", "worker_init_fn", "multiprocessing_context",
    "generator", "prefetch_factor", "persistent_workers", "pin_memory_device", "in_order",
)  # fmt: skip
"""What a rank's loader takes over from the one that it is made of."""
NOTE = (
    "note: the model runs in DataParallel, one process on {} GPUs: right where the function must stay one process. "
    "`ranks: {}` (DistributedDataParallel) is faster as a rule; a model too large for one GPU needs its layers on "
    "several of trial.devices."
)


def devices(gpus: float) -> list[torch.device]:
    """List the devices of a process that has so many GPUs."""
    import torch

    if not gpus or not torch.cuda.is_available():
        return [torch.device("cpu")]
    return [torch.device("cuda", i) for i in range(min(max(1, int(gpus)), torch.cuda.device_count()))]


def prepare(thing: Any, ranks: Ranks, devices: list[torch.device], seed: int, epoch: int = 0) -> Any:
    """Prepare a model or a DataLoader, in an epoch or before the first; raises UserError for anything else."""
    import torch

    if isinstance(thing, torch.nn.Module):
        return _model(thing, ranks, devices)
    if isinstance(thing, torch.utils.data.DataLoader):
        return _loader(thing, ranks, seed, epoch) if ranks.ranks > 1 else thing
    raise UserError(f"trial.prepare: must get models (nn.Module) and DataLoaders, but got {type(thing).__name__}.")


def unwrapped(name: str, thing: Any) -> Any:
    """Take a model out of what made it parallel, or compiled it; raises UserError where that lies deeper."""
    if "torch" not in sys.modules:
        return thing
    from torch.nn import Module
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    while isinstance(thing, DataParallel | DistributedDataParallel):
        thing = thing.module
    if (inner := _around_parallel(thing)) is not None:
        raise UserError(
            f"trial.track({name}=...): must be made of the model, not of what trial.prepare returned, but got "
            f"{type(thing).__name__} of {type(inner).__name__}. Make it of the model, or track the model itself."
        )
    # What torch.compile made has other names for all weights. To import its type takes a second.
    is_compiled = isinstance(thing, Module) and type(thing).__module__.startswith("torch._dynamo")
    return thing._modules.get("_orig_mod", thing) if is_compiled else thing


def _around_parallel(thing: Any) -> torch.nn.Module | None:
    """Find what makes a model parallel inside an average of it, or inside what torch.compile made of it."""
    from torch.nn import Module
    from torch.nn.parallel import DataParallel, DistributedDataParallel
    from torch.optim.swa_utils import AveragedModel

    name = "module" if isinstance(thing, AveragedModel) else "_orig_mod"
    inner = thing._modules.get(name) if isinstance(thing, Module) else None
    return (
        inner if inner is None or isinstance(inner, DataParallel | DistributedDataParallel) else _around_parallel(inner)
    )


def _model(model: torch.nn.Module, ranks: Ranks, devices: list[torch.device]) -> torch.nn.Module:
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    if isinstance(model, DataParallel | DistributedDataParallel):
        return model
    spread = len({parameter.device for parameter in model.parameters()}) > 1
    if not spread:  # else its layers were put on several GPUs by hand
        model.to(devices[0])
    if ranks.ranks > 1 and any(parameter.requires_grad for parameter in model.parameters()):
        ids = None if spread or devices[0].type == "cpu" else [devices[0]]
        wrapped = DistributedDataParallel(model, device_ids=ids)
        ranks.prepared.add(wrapped)
        return wrapped
    if ranks.ranks == 1 and len(devices) > 1 and not spread:
        print(NOTE.format(len(devices), len(devices)))
        return DataParallel(model, device_ids=devices)
    return model


def _loader(loader: DataLoader[Any], ranks: Ranks, seed: int, epoch: int) -> DataLoader[Any]:
    """Make the loader of one rank: its part of the samples, in batches of the same size."""
    from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
    from torch.utils.data.distributed import DistributedSampler

    sampler = loader.sampler
    if dealt_by(loader) is not None:
        return loader
    _refuse_unknown(loader)
    if type(sampler) not in (RandomSampler, SequentialSampler):
        raise _refusal("have no sampler of its own", type(sampler).__name__)
    _refuse_other_samples(sampler, loader.dataset)
    dealt: DistributedSampler[Any] = DistributedSampler(
        loader.dataset, ranks.ranks, ranks.rank, shuffle=isinstance(sampler, RandomSampler), seed=seed,
        drop_last=loader.drop_last,
    )  # fmt: skip
    kept = {name: getattr(loader, name) for name in KEPT if hasattr(loader, name)}
    kept["generator"] = _generator(loader.generator, ranks, epoch)
    made: DataLoader[Any] = DataLoader(loader.dataset, loader.batch_size, sampler=dealt, **kept)
    if len(made) == 0:
        raise UserError(
            f"trial.prepare: each of {ranks.ranks} ranks must get one batch at least, but got {len(dealt)} samples "
            f"for a batch_size of {loader.batch_size}. Lower batch_size or ranks."
        )
    return made


def _generator(given: torch.Generator | None, ranks: Ranks, epoch: int) -> torch.Generator | None:
    """Make the generator of a rank's loader, of which its workers get their seeds: augmentation is each rank's own.

    The order is the sampler's. A loader that is made anew in an epoch gets another one than in the epoch before.
    """
    import torch

    if given is None or ranks.rank == 0:
        return given
    return torch.Generator(given.device).manual_seed((given.initial_seed() + ranks.rank + ranks.ranks * epoch) % 2**63)


def _refuse_unknown(loader: DataLoader[Any]) -> None:
    """Raise UserError for a loader that cannot be made again with another sampler."""
    from torch.utils.data import DataLoader, IterableDataset

    if isinstance(loader.dataset, IterableDataset):
        fix = "Let its __iter__ give each rank its own part, by trial.rank and trial.ranks, in equally many batches, "
        fix += "and do not prepare it."
        raise UserError(f"trial.prepare: a loader must have a dataset with an index, but got an IterableDataset. {fix}")
    if type(loader) is not DataLoader:
        raise _refusal("be a plain DataLoader", type(loader).__name__)
    if loader.batch_size is None and loader.batch_sampler is not None:
        raise _refusal("have no batch_sampler of its own", type(loader.batch_sampler).__name__)


def _refuse_other_samples(sampler: Any, dataset: Any) -> None:
    """Raise UserError for a sampler of torch's that does not draw each sample once, as the ranks together will."""
    again = getattr(sampler, "replacement", False)
    if again or len(sampler) != len(dataset):
        how = "with replacement" if again else f"of {len(sampler)} samples"
        raise _refusal(f"draw each of its {len(dataset)} samples once", f"a {type(sampler).__name__} {how}")


def _refusal(must: str, got: str) -> UserError:
    return UserError(
        f"trial.prepare: with several ranks a loader must {must}, but got {got}. Give the loader a DistributedSampler, "
        "or a sampler that deals out the samples by trial.rank and trial.ranks, and do not prepare it; "
        "every rank needs the same number of batches."
    )
