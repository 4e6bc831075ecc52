"""How two ranks of one trial train: batches in parts, the seeds of workers, what may be tracked, unequal batches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tuner.slot.slot import Slot

from .bench import Bench, hear, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("meetings")]
PARTS = """
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, TensorDataset

    X = torch.randn(30, 5, generator=torch.Generator().manual_seed(3))
    DATA = TensorDataset(X, X.sum(1, keepdim=True).sin())

    def train(trial, how="momentum", options=None, short=False):
        model = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 1))
        loader = trial.prepare(DataLoader(DATA, 7, shuffle=True))
        net = DistributedDataParallel(model, **options) if options else trial.prepare(model)
        sgd, adam = torch.optim.SGD, torch.optim.AdamW
        optimizer = sgd(net.parameters(), 0.05, 0.9) if how == "momentum" else adam(net.parameters(), 0.01)
        trial.track(model=net, optimizer=optimizer)
        for epoch in trial.epochs():
            passes = 0
            for x, y in trial.batches(loader):
                optimizer.zero_grad()
                nn.functional.mse_loss(net(x), y).backward()
                nn.utils.clip_grad_norm_(net.parameters(), 0.3)
                optimizer.step()
                passes += 1
            if short: raise MemoryError
            (trial.folder / f"weights{trial.rank}").write_text(str([p.tolist() for p in model.parameters()]))
            trial.report(loss=1, passes=passes)
"""
AUGMENTED = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    class Noise(Dataset):
        def __len__(self): return 12
        def __getitem__(self, i): return torch.rand(1)

    def train(trial, anew=False):
        trial.track(model=nn.Linear(1, 1))
        generator = torch.Generator().manual_seed(trial.seed)
        make = lambda: trial.prepare(DataLoader(Noise(), 3, shuffle=True, num_workers=1, generator=generator))
        loader = make()
        for epoch in trial.epochs():
            drawn = torch.cat(list(trial.batches(make() if anew else loader))).flatten().tolist()
            (trial.folder / f"drew.{trial.rank}.{epoch}").write_text(str(drawn))
            trial.report(loss=1)
"""


@pytest.fixture(scope="module")
def slot(shared: Bench) -> Slot:
    return shared.slot(PARTS)


@pytest.fixture(scope="module")
def augmented(shared: Bench) -> Slot:
    return shared.slot(shared.code(AUGMENTED, "augmented"))


@pytest.mark.parametrize(("how", "parts"), [("momentum", 2), ("adam", 2), ("momentum", 3)])
def test_ranks_make_the_same_steps_of_batches_in_parts(slot: Slot, bench: Bench, how: str, parts: int) -> None:
    """The last batch of a pass has one sample: it comes whole, as often as others come in parts."""
    given = bench.assignment("whole", params={"how": how}, epochs=2, ranks=2)
    *_, whole, _ = bench.run(slot, given)
    *_, cut, end = bench.run(slot, replace(given, trial="parts", parts=parts))
    assert end == {"event": "returned"}
    assert whole["metrics"]["passes"] == 3 and cut["metrics"]["passes"] == 3 * parts
    for name, value in weights(bench, whole).items():
        torch.testing.assert_close(weights(bench, cut)[name], value, rtol=1e-4, atol=1e-4)
    told = [(given.folder.parent / "parts" / f"weights{rank}").read_text() for rank in range(2)]
    assert told[0] == told[1]


@pytest.mark.parametrize("option", ["find_unused_parameters", "static_graph", "gradient_as_bucket_view"])
def test_batches_stay_whole_where_the_wrapper_is_not_that_of_prepare(slot: Slot, bench: Bench, option: str) -> None:
    given = bench.assignment(params={"options": {option: True}}, epochs=1, ranks=2, parts=2)
    report, _ = bench.run(slot, given)
    assert report["metrics"]["passes"] == 3
    failed = bench.run(slot, replace(given, trial="t1", parts=1, params={**given.params, "short": True}))[-1]
    assert failed["outcome"] == "infeasible" and not failed["splits"]


@pytest.mark.parametrize("anew", [False, True])
def test_workers_augment_otherwise_on_each_rank_and_the_same_after_a_resume(
    augmented: Slot, bench: Bench, anew: bool
) -> None:
    given = bench.assignment("whole", params={"anew": anew}, ranks=2)
    bench.run(augmented, given)
    part = replace(given, trial="part")
    augmented.begin(part)
    first = hear(augmented)
    bench.run(augmented, replace(part, checkpoint=first["checkpoint"], epoch=1, attempt="1.1"))
    drawn = [[(trial.folder / f"drew.{rank}.{epoch}").read_text() for rank in (0, 1) for epoch in (1, 2, 3)]
             for trial in (given, part)]  # fmt: skip
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 6


def test_a_rank_that_waits_for_one_with_fewer_batches_says_what_is_needed(bench: Bench) -> None:
    slot = bench.slot(
        """
        import datetime, torch
        import torch.distributed as dist
        from torch import nn

        start = dist.init_process_group
        dist.init_process_group = lambda *a, **k: start(*a, **k, timeout=datetime.timedelta(seconds=3))

        def train(trial):
            net = trial.prepare(nn.Linear(1, 1))
            for _ in range(3 + trial.rank):
                net(torch.ones(1, 1)).sum().backward()
            trial.report(loss=1)
        """
    )
    (event,) = bench.run(slot, bench.assignment(ranks=2))
    assert "another rank made fewer steps; every rank needs the same number of batches" in event["reason"]


def test_what_was_made_of_a_prepared_model_is_refused_and_preparing_it_again_changes_nothing(bench: Bench) -> None:
    slot = bench.slot(
        """
        import torch
        from torch import nn
        from torch.optim.swa_utils import AveragedModel

        def train(trial):
            net = trial.prepare(nn.Linear(1, 1))
            assert trial.prepare(net) is net
            trial.track(model=net, ema=AveragedModel(net))
        """
    )
    (event,) = bench.run(slot, bench.assignment(ranks=2))
    assert event["misuse"] and "got AveragedModel of DistributedDataParallel. Make it of the model" in event["reason"]
