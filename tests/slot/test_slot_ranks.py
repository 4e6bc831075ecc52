"""Two ranks of one trial, each a process: they report once, begin alike, and end together."""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tuner.slot import ranks
from tuner.slot.launcher import log_name, order
from tuner.trial.checkpoint import read_manifest

from .bench import PATIENCE, Bench, alive, hear, until_end

RANKED = """
    import os, sys, time
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    DATA = TensorDataset(torch.linspace(-1, 1, 192).reshape(48, 4), torch.arange(48) % 3)

    def train(trial, batch=6, shuffle=True, dropout=0.5, fault=None, how=None):
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))
        net, loader = trial.prepare(model, DataLoader(DATA, batch, shuffle=shuffle))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        trial.track(model=net, optimizer=optimizer)
        print("pid", os.getpid(), "begins at", trial._epoch, flush=True)
        (trial.folder / f"pid{trial.rank}").write_text(str(os.getpid()))
        for epoch in trial.epochs():
            if fault == (trial.rank, epoch):
                FAULTS[how](trial)
            seen = 0
            for x, y in trial.batches(loader):
                loss = nn.functional.cross_entropy(net(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen += len(x)
            print("drew", torch.rand(1).item())
            trial.report(loss=loss, rank=trial.rank, seen=seen, drew=torch.rand(1))

    def error(trial): raise ValueError("it broke")
    def memory(trial): raise MemoryError("too little")
    def hang(trial): time.sleep(1000)
    def leave(trial): os._exit(0)
    FAULTS = {f.__name__: f for f in (error, memory, hang, leave)}
"""

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


@pytest.fixture(autouse=True)
def meetings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the ranks meet in a folder of the test's own."""
    folder = tmp_path / "meetings"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def weights(bench: Bench, event: dict[str, Any], name: str = "model") -> Any:
    return torch.load(bench.root / "run" / event["checkpoint"] / f"{name}.pt", weights_only=True)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def pid(bench: Bench, rank: int, trial: str = "t0") -> int:
    return int((bench.root / "run" / "trials" / trial / f"pid{rank}").read_text())


def test_ranks_report_once_the_mean_of_what_each_has_and_draw_each_their_own(bench: Bench, meetings: Path) -> None:
    slot = bench.slot(RANKED)
    *reports, end = bench.run(slot, bench.assignment(ranks=2))
    assert end == {"event": "returned"}
    assert [event["epoch"] for event in reports] == [1, 2, 3]
    assert {event["metrics"]["rank"] for event in reports} == {0.5}
    assert {event["metrics"]["seen"] for event in reports} == {24}, "each rank has half of the samples"
    folder = bench.assignment().folder
    assert len(list((folder / "checkpoints").iterdir())) == 3
    assert set(weights(bench, reports[-1])) == {"0.weight", "0.bias", "3.weight", "3.bias"}, "no wrapper in the names"
    logs = [(folder / log_name(rank)).read_text().splitlines() for rank in range(2)]
    assert all(len(log) == 4 and "begins at 0" in log[0] for log in logs)
    assert not set(logs[0][1:]) & set(logs[1][1:]), "dropout and augmentation differ from rank to rank"
    slot.close()
    assert not list(meetings.iterdir()), "nothing is left of where they met"


def test_two_ranks_make_the_same_steps_as_one_process_with_twice_the_batch(bench: Bench) -> None:
    slot = bench.slot(RANKED)
    given = bench.assignment(params={"shuffle": False, "dropout": 0.0})
    two = bench.run(slot, replace(given, ranks=2))
    one = bench.run(slot, replace(given, trial="t1", params={**given.params, "batch": 12}))
    for name, value in weights(bench, two[2]).items():
        torch.testing.assert_close(value, weights(bench, one[2])[name])
    assert not same(weights(bench, two[0]), weights(bench, two[2])), "they learn at all"


@pytest.mark.parametrize("cut", [1, 2])
def test_a_killed_rank_loses_its_trial_which_goes_on_as_if_it_had_not(bench: Bench, cut: int) -> None:
    slot = bench.slot(RANKED)
    whole = bench.run(slot, bench.assignment("whole", ranks=2))
    given = bench.assignment(params={"fault": (1, cut + 1), "how": "hang"}, ranks=2)
    slot.begin(given)
    heard = [hear(slot) for _ in range(cut)]
    if cut == 2:
        slot.step()  # not while it waits for the decision, but in the middle of an epoch
    os.kill(pid(bench, 1), signal.SIGKILL)
    (lost,) = until_end(slot)
    assert lost == {"event": "lost", "reason": "its process was killed by SIGKILL (rank 1)", "cause": "worker"}
    first = pid(bench, 0)
    resumed = replace(given, params={}, checkpoint=heard[-1]["checkpoint"], epoch=cut, attempt="1.1")
    heard += bench.run(slot, resumed)
    assert not alive(first)
    assert [e.get("metrics") for e in heard] == [e.get("metrics") for e in whole]
    assert same(weights(bench, heard[-2]), weights(bench, whole[-2])), "bit for bit"


@pytest.mark.parametrize(("how", "parts"), [("momentum", 2), ("adam", 2), ("momentum", 3)])
def test_ranks_make_the_same_steps_of_batches_in_parts(bench: Bench, how: str, parts: int) -> None:
    """The last batch of a pass has one sample: it comes whole, as often as others come in parts."""
    slot = bench.slot(PARTS)
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
def test_batches_stay_whole_where_the_wrapper_is_not_that_of_prepare(bench: Bench, option: str) -> None:
    slot = bench.slot(PARTS)
    given = bench.assignment(params={"options": {option: True}}, epochs=1, ranks=2, parts=2)
    report, _ = bench.run(slot, given)
    assert report["metrics"]["passes"] == 3
    failed = bench.run(slot, replace(given, trial="t1", parts=1, params={**given.params, "short": True}))[-1]
    assert failed["outcome"] == "infeasible" and not failed["splits"]


@pytest.mark.parametrize("anew", [False, True])
def test_workers_augment_otherwise_on_each_rank_and_the_same_after_a_resume(bench: Bench, anew: bool) -> None:
    slot = bench.slot(AUGMENTED)
    given = bench.assignment("whole", params={"anew": anew}, ranks=2)
    bench.run(slot, given)
    part = replace(given, trial="part")
    slot.begin(part)
    first = hear(slot)
    bench.run(slot, replace(part, checkpoint=first["checkpoint"], epoch=1, attempt="1.1"))
    drawn = [[(trial.folder / f"drew.{rank}.{epoch}").read_text() for rank in (0, 1) for epoch in (1, 2, 3)]
             for trial in (given, part)]  # fmt: skip
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 6


@pytest.mark.parametrize(
    ("rank", "how", "event"),
    [
        (1, "error", {"event": "failed", "reason": "ValueError: it broke (rank 1)"}),
        (0, "error", {"event": "failed", "reason": "ValueError: it broke (rank 0)"}),
        (1, "memory", {"outcome": "infeasible", "reason": "out of memory: MemoryError: too little (rank 1)"}),
        (1, "leave", {"event": "lost", "reason": "its process ended with exit code 0 (rank 1)"}),
    ],
)
def test_the_rank_that_failed_first_says_why(bench: Bench, rank: int, how: str, event: dict[str, Any]) -> None:
    slot = bench.slot(RANKED)
    *_, end = bench.run(slot, bench.assignment(params={"fault": (rank, 2), "how": how}, ranks=2))
    assert {key: end[key] for key in event} == event
    assert end.get("splits", False) == (how == "memory") and "echo" not in end
    if how == "error":
        assert "in error" in end["error"], "the traceback of that rank"
    assert [e["event"] for e in bench.run(slot, bench.assignment("t1", ranks=2))] == ["report"] * 3 + ["returned"]


def test_what_fails_on_all_ranks_alike_is_said_as_of_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "CAUSE_SECONDS", PATIENCE)  # a busy machine may keep one rank behind
    slot = bench.slot("import torch\ndef train(trial):\n    raise ValueError('it broke')")
    assert bench.run(slot, bench.assignment(ranks=2))[0]["reason"] == "ValueError: it broke"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("trial.report(loss=1, epoch=1 + trial.rank)", "rank 0 reports epoch 1 and rank 1 reports epoch 2"),
        ("trial.report({'loss': 1, f'n{trial.rank}': 1})", "rank 0 reports loss, n0 and rank 1 reports loss, n1"),
        ("if trial.rank: trial.report(loss=1)", "rank 0 returns from the function and rank 1 reports epoch 1"),
        (
            "trial.rank or sys.exit(); trial.report(loss=1)",
            "rank 0 returns from the function and rank 1 reports epoch 1",
        ),
        (
            "trial.rank and sys.exit(0); trial.report(loss=1)",
            "rank 0 reports epoch 1 and rank 1 returns from the function",
        ),
    ],
)
def test_ranks_that_do_not_report_alike_are_told_so(bench: Bench, body: str, reason: str) -> None:
    slot = bench.slot(f"import sys, torch\ndef train(trial):\n    {body}")
    (event,) = bench.run(slot, bench.assignment(ranks=2))
    assert event["misuse"] and event["reason"].endswith(f"but {reason}. Call it on every rank.")


def test_ranks_that_all_leave_by_a_clean_exit_have_returned(bench: Bench) -> None:
    slot = bench.slot("import sys, torch\ndef train(trial):\n    trial.report(loss=1)\n    sys.exit(0)")
    assert [event["event"] for event in bench.run(slot, bench.assignment(ranks=2))] == ["report", "returned"]


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


def test_a_stop_kills_all_ranks_in_the_middle_of_an_epoch(bench: Bench, meetings: Path) -> None:
    slot = bench.slot(RANKED)
    slot.begin(bench.assignment(params={"fault": (1, 2), "how": "hang"}, ranks=2))
    hear(slot)
    slot.step()
    family = [pid(bench, rank) for rank in range(2)]
    assert all(map(alive, family))
    slot.begin(bench.assignment("t1", ranks=2))
    assert not any(map(alive, family))
    assert [event["event"] for event in until_end(slot)] == ["report"] * 3 + ["returned"]
    assert len(list(meetings.iterdir())) == 1, "the first trial's is gone"


def test_a_stop_by_the_rule_kills_ranks_that_wait_for_the_decision(bench: Bench) -> None:
    slot = bench.slot(RANKED)
    slot.begin(bench.assignment(ranks=2))
    hear(slot)
    family = [pid(bench, rank) for rank in range(2)]
    slot.begin(bench.assignment("t1"))
    assert not any(map(alive, family))
    assert len(until_end(slot)) == 4


def test_ranks_where_there_is_no_fork(bench: Bench) -> None:
    slot = bench.slot(RANKED, fork=False)
    *reports, end = bench.run(slot, bench.assignment(ranks=2))
    assert end == {"event": "returned"}
    assert {event["metrics"]["rank"] for event in reports} == {0.5}


def test_one_process_goes_on_and_tests_what_two_ranks_have_saved_and_the_other_way_round(bench: Bench) -> None:
    slot = bench.slot(RANKED)
    first, *_ = bench.run(slot, bench.assignment(ranks=2))
    alone = bench.assignment(checkpoint=first["checkpoint"], epoch=1, attempt="2.0", generation=1)
    events = bench.run(slot, alone)
    assert [event.get("epoch") for event in events] == [2, 3, None]
    assert bench.run(slot, replace(alone, task="test"))[0] == {"event": "tested", "metrics": {}}
    wide = replace(alone, checkpoint=events[0]["checkpoint"], epoch=2, ranks=3, generation=2)
    assert [event.get("epoch") for event in bench.run(slot, wide)] == [3, None]
    assert read_manifest(bench.root / "run" / events[0]["checkpoint"])["epoch"] == 2


def test_a_trial_of_one_rank_knows_nothing_of_torch_unless_it_imports_it(bench: Bench) -> None:
    slot = bench.slot(
        """
        import atexit, sys
        def train(trial):
            trial.report(loss=1)
            atexit.register(lambda: (trial.folder / "torch").write_text(str("torch" in sys.modules)))
        """
    )
    bench.run(slot)
    slot.begin(bench.assignment("t1"))  # the first has left by now
    assert (bench.assignment().folder / "torch").read_text() == "False"


def test_a_rank_sees_its_own_gpus_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6,7")
    given = bench.assignment(gpus=2, ranks=2)
    seen = [order(replace(given, rank=rank))[1:] for rank in range(2)]
    assert [env["CUDA_VISIBLE_DEVICES"] for _, env in seen] == ["3,5", "6,7"]
    assert [Path(log).name for log, _ in seen] == ["log.txt", "log.rank1.txt"]
    assert order(replace(given, gpus=4, ranks=1))[2]["CUDA_VISIBLE_DEVICES"] == "3,5,6,7"
    assert order(replace(given, gpus=0))[2]["CUDA_VISIBLE_DEVICES"] == ""
