"""What `trial.prepare` makes of models and loaders; how it trains on two ranks is in tests/slot/test_slot_ranks.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from tuner import Trial
from tuner.errors import UserError
from tuner.trial import parallel, randomness
from tuner.trial.local import LocalTrial
from tuner.trial.ranks import Ranks, is_echo

from .study import Heard, assignment, goes_on, run

CPU = torch.device("cpu")
DATA = TensorDataset(torch.arange(20.0))


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(20))


class Mine(DataLoader[Any]):
    pass


def prepared(loader: Any, rank: int = 0) -> Any:
    return parallel.prepare(loader, Ranks(rank, 2), [CPU], seed=5)


def test_a_loader_is_dealt_out_to_the_ranks_and_stays_as_it_was_otherwise() -> None:
    generator = torch.Generator()
    loader = DataLoader(
        DATA, 4, shuffle=True, collate_fn=list, num_workers=2, persistent_workers=True, prefetch_factor=3,
        generator=generator, timeout=9, multiprocessing_context="fork", drop_last=True, worker_init_fn=print,
    )  # fmt: skip
    made = prepared(loader)
    assert isinstance(made.sampler, DistributedSampler) and made.sampler.shuffle and made.sampler.seed == 5
    for name in (*parallel.KEPT, "batch_size", "dataset"):
        assert getattr(made, name) is getattr(loader, name) or getattr(made, name) == getattr(loader, name), name
    assert prepared(made) is made


def test_each_epoch_deals_anew_and_all_samples_once(tmp_path: Path) -> None:
    ranks = [Trial(assignment(tmp_path), Heard(), Ranks(rank, 2)) for rank in range(2)]
    loaders = [prepared(DataLoader(DATA, 5, shuffle=True), rank) for rank in range(2)]
    seen = []
    for epoch in (1, 2):
        parts = []
        for trial, loader in zip(ranks, loaders, strict=True):
            trial._reported = epoch - 1
            parts.append(torch.cat([batch for (batch,) in trial.batches(loader)]).tolist())
        assert sorted(parts[0] + parts[1]) == list(range(20))
        seen.append(parts)
    assert seen[0] != seen[1]
    fixed = prepared(DataLoader(DATA, 5))
    assert torch.cat([batch for (batch,) in fixed]).tolist() == list(range(0, 20, 2))


def own_loop(trial: Trial, loader: Any) -> None:
    """Pass twice in each epoch, and once before the first."""
    for _ in trial.batches(loader):
        pass
    trial.track(model=nn.Linear(1, 1))
    for epoch in trial.epochs():
        orders = [torch.cat([batch for (batch,) in trial.batches(loader)]).tolist() for _ in range(2)]
        PASSES.setdefault(trial.params["run"], {})[epoch] = orders
        trial.report(loss=1)


PASSES: dict[str, dict[int, list[list[float]]]] = {}
OWN = [
    lambda: prepared(DataLoader(DATA, 5, shuffle=True)),
    lambda: DataLoader(DATA, batch_sampler=BatchSampler(DistributedSampler(DATA, 2, 0), 5, False)),
]


@pytest.mark.parametrize("make", OWN)
def test_each_pass_shuffles_anew_and_as_the_unbroken_run_after_a_resume(tmp_path: Path, make: Any) -> None:
    def train(trial: Trial, run: str) -> None:
        own_loop(trial, make())

    PASSES.clear()
    whole, part = assignment(tmp_path, params={"run": "whole"}), assignment(tmp_path, "t1", params={"run": "part"})
    run(train, whole)
    run(train, goes_on(part, run(train, part, last=2)))
    assert len(PASSES["whole"]) == 4 and PASSES["part"] == PASSES["whole"]
    orders = [tuple(order) for orders in PASSES["whole"].values() for order in orders]
    assert len(set(orders)) == len(orders)


def test_passes_that_are_reported_together_differ(tmp_path: Path) -> None:
    trial, loader = Trial(assignment(tmp_path), Heard()), prepared(DataLoader(DATA, 5, shuffle=True))
    orders = []
    for _ in range(2):
        orders += [tuple(torch.cat([batch for (batch,) in trial.batches(loader)]).tolist()) for _ in range(3)]
        trial.report(loss=1, epoch=len(orders))
    assert len(set(orders)) == 6


@pytest.mark.parametrize(
    ("thing", "got"),
    [
        (DataLoader(DATA, sampler=[3, 1, 2]), "have no sampler of its own, but got list"),
        (DataLoader(Stream()), "have a dataset with an index, but got an IterableDataset"),
        (Mine(DATA), "be a plain DataLoader, but got Mine"),
        (DataLoader(DATA, batch_sampler=[[1, 2], [3]]), "have no batch_sampler of its own, but got list"),
        (DataLoader(DATA, batch_sampler=BatchSampler(SequentialSampler(DATA), 5, False)), "but got BatchSampler"),
        (DataLoader(DATA, 16, drop_last=True), "get one batch at least, but got 10 samples for a batch_size of 16"),
        (DataLoader(DATA, sampler=RandomSampler(DATA, replacement=True)), "got a RandomSampler with replacement"),
        (DataLoader(DATA, sampler=RandomSampler(DATA, num_samples=8)), "got a RandomSampler of 8 samples"),
        (DataLoader(DATA, sampler=SequentialSampler(range(8))), "each of its 20 samples once, but got a Sequential"),
        ([1, 2], "must get models .nn.Module. and DataLoaders, but got list"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused(thing: Any, got: str) -> None:
    with pytest.raises(UserError, match=got):
        prepared(thing)


def test_one_rank_gets_back_what_it_gave(tmp_path: Path) -> None:
    trial = LocalTrial(assignment(tmp_path))
    model, loader = nn.Linear(2, 2), DataLoader(Stream())
    assert trial.prepare(model) is model
    assert trial.prepare(model, loader) == (model, loader)
    assert (trial.rank, trial.ranks, trial.devices) == (0, 1, [CPU])


def test_one_process_with_two_gpus_gets_dataparallel_and_a_note(tmp_path: Path, capsys: Any) -> None:
    model = nn.Linear(2, 2)
    wrapped = parallel.prepare(model, Ranks(), [CPU, CPU], seed=0)
    assert isinstance(wrapped, DataParallel) and wrapped.module is model
    said = capsys.readouterr().out
    assert said.startswith("note: the model runs in DataParallel, one process on 2 GPUs") and said.count("\n") == 1

    def train(trial: Trial, weight: float = 0.0) -> None:
        net = DataParallel(nn.Linear(1, 1))
        nn.init.constant_(net.module.weight, weight)
        trial.track(model=net)
        for _ in trial.epochs():
            trial.report(loss=net.module.weight)

    given = assignment(tmp_path, params={"weight": 3.0}, epochs=2)
    heard = run(train, given, last=1)
    saved = torch.load(tmp_path / str(heard.checkpoints[0]) / "model.pt", weights_only=True)
    assert set(saved) == {"weight", "bias"}
    assert run(train, goes_on(given, heard, params={"weight": 0.0})).metrics == [{"loss": 3.0}]


def test_what_is_wrapped_is_not_wrapped_again_and_taken_off_all_at_once() -> None:
    wrapped = parallel.prepare(nn.Linear(2, 2), Ranks(), [CPU, CPU], seed=0)
    assert parallel.prepare(wrapped, Ranks(), [CPU, CPU], seed=0) is wrapped
    assert parallel.unwrapped("model", DataParallel(wrapped)) is wrapped.module


@pytest.mark.parametrize(
    ("around", "got"),
    [
        (AveragedModel, "AveragedModel of DataParallel"),
        (torch.compile, "OptimizedModule of DataParallel"),
        (lambda net: AveragedModel(torch.compile(net)), "AveragedModel of DataParallel"),
    ],
)
def test_what_was_made_of_a_wrapped_model_is_refused(tmp_path: Path, around: Any, got: str) -> None:
    trial = LocalTrial(assignment(tmp_path))
    with pytest.raises(
        UserError, match=rf"trial.track\(ema=...\): must be made of the model, .*, but got {got}. Make it"
    ):
        trial.track(ema=around(DataParallel(nn.Linear(2, 2))))
    trial.track(ema=around(nn.Linear(2, 2)))


def test_a_rank_that_was_not_there_draws_its_own_numbers(tmp_path: Path) -> None:
    """A checkpoint of one rank is gone on with by two: the first has its states back, the second new ones."""

    def train(trial: Trial) -> None:
        trial.track(model=nn.Linear(1, 1))
        for _ in trial.epochs():
            trial.report(loss=torch.rand(1))

    given = assignment(tmp_path)
    whole, heard = run(train, given), run(train, given, last=2)
    resumed = goes_on(given, heard)
    drawn = []
    for rank in range(2):
        trial = Trial(resumed, Heard(), Ranks(rank, 2))
        randomness.seed_all(resumed.seed)
        next(trial.epochs())
        drawn.append(float(torch.rand(1)))
    assert drawn[0] == whole.metrics[2]["loss"]
    assert drawn[1] not in [metrics["loss"] for metrics in whole.metrics]


@pytest.mark.parametrize(
    ("error", "echo"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:25512"), True),
        (RuntimeError("NCCL error in: ProcessGroupNCCL.cpp, remote process exited"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("connection closed by peer"), False),
    ],
)
def test_an_error_that_follows_from_another_ranks_is_told_apart(error: Exception, echo: bool) -> None:
    assert is_echo(error) == echo
    with pytest.raises(KeyError) as later:
        raise KeyError("while the user handles it") from error
    assert is_echo(later.value) == echo


def test_the_mean_of_equal_numbers_is_that_number(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks(0, 7)
    monkeypatch.setattr(ranks, "gather", lambda mine: [mine] * 7)
    assert ranks.agree(1, {"loss": 0.1, "bad": float("inf")}, None)[0] == {"loss": 0.1, "bad": float("inf")}
