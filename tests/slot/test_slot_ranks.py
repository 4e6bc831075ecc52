"""Two ranks of one trial, each a process: they report once, begin alike, and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tuner.slot import ranks
from tuner.slot.launcher import log_name, order
from tuner.slot.slot import Slot
from tuner.storage.machine import mark
from tuner.trial.checkpoint import read_manifest
from tuner.trial.ranks import DEVICES

from .bench import PATIENCE, Bench, alive, hear, until_end, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("meetings")]
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


@pytest.fixture(scope="module")
def slot(shared: Bench) -> Slot:
    return shared.slot(RANKED)


@pytest.fixture(scope="module")
def told(shared: Bench) -> Slot:
    """Run the lines that a test gives."""
    return shared.slot(shared.code("import sys, torch\ndef train(trial, lines):\n    exec(lines)", "told"))


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
    logs = [(folder / log_name(rank)).read_text().splitlines()[-4:] for rank in range(2)]  # gloo may have spoken first
    assert all(len(log) == 4 and "begins at 0" in log[0] for log in logs)
    assert not set(logs[0][1:]) & set(logs[1][1:]), "dropout and augmentation differ from rank to rank"
    slot.close()
    assert not list(meetings.iterdir()), "nothing is left of where they met"


def test_a_report_tells_the_memory_of_the_rank_that_took_most(told: Slot, bench: Bench) -> None:
    lines = """
import resource
held = b"x" * (300 << 20) if trial.rank else None
(trial.folder / f"took{trial.rank}").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
trial.report(loss=1)
"""
    report, _ = bench.run(told, bench.assignment(params={"lines": lines}, epochs=1, ranks=2))
    took = [int((bench.assignment().folder / f"took{rank}").read_text()) * 1024 for rank in range(2)]
    assert took[0] < took[1] <= report["memory"]


def test_gpus_that_nobody_dealt_out_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEVICES:
        monkeypatch.delenv(name, raising=False)
    slot = bench.slot("import torch\ntorch.cuda.is_available = lambda: True\ndef train(trial):\n    pass")
    (event,) = bench.run(slot, bench.assignment(gpus=2, ranks=2))
    assert event["misuse"] and "must be told its GPU" in event["reason"]


def test_two_ranks_make_the_same_steps_as_one_process_with_twice_the_batch(slot: Slot, bench: Bench) -> None:
    given = bench.assignment(params={"shuffle": False, "dropout": 0.0})
    two = bench.run(slot, replace(given, ranks=2))
    one = bench.run(slot, replace(given, trial="t1", params={**given.params, "batch": 12}))
    for name, value in weights(bench, two[2]).items():
        torch.testing.assert_close(value, weights(bench, one[2])[name])
    assert not same(weights(bench, two[0]), weights(bench, two[2])), "they learn at all"


@pytest.mark.parametrize("cut", [1, 2])
def test_a_killed_rank_loses_its_trial_which_goes_on_as_if_it_had_not(slot: Slot, bench: Bench, cut: int) -> None:
    whole = bench.run(slot, bench.assignment("whole", ranks=2))
    given = bench.assignment(params={"fault": (1, cut + 1), "how": "hang"}, ranks=2)
    slot.begin(given)
    heard = [hear(slot) for _ in range(cut)]
    if cut == 2:
        slot.step()  # not while it waits for the decision, but in the middle of an epoch
    os.kill(pid(bench, 1), signal.SIGKILL)
    (lost,) = until_end(slot)
    assert lost == {
        "event": "lost",
        "reason": "its process was killed by SIGKILL in the middle of the trial (rank 1)",
        "cause": "worker",
    }
    first = pid(bench, 0)
    resumed = replace(given, params={}, checkpoint=heard[-1]["checkpoint"], epoch=cut, attempt="1.1")
    heard += bench.run(slot, resumed)
    assert not alive(first)
    assert [e.get("metrics") for e in heard] == [e.get("metrics") for e in whole]
    assert same(weights(bench, heard[-2]), weights(bench, whole[-2])), "bit for bit"


@pytest.mark.parametrize(
    ("rank", "how", "event"),
    [
        (1, "error", {"event": "failed", "reason": "ValueError: it broke (rank 1)"}),
        (0, "error", {"event": "failed", "reason": "ValueError: it broke (rank 0)"}),
        (1, "memory", {"outcome": "infeasible", "reason": "out of memory: MemoryError: too little (rank 1)"}),
        (1, "leave", {"event": "lost", "reason": "its process ended with exit code 0 (rank 1)"}),
    ],
)
def test_the_rank_that_failed_first_says_why(
    slot: Slot, bench: Bench, rank: int, how: str, event: dict[str, Any]
) -> None:
    *_, end = bench.run(slot, bench.assignment(params={"fault": (rank, 2), "how": how}, ranks=2))
    assert {key: end[key] for key in event} == event
    assert end.get("splits", False) == (how == "memory") and "echo" not in end
    if how == "error":
        assert "in error" in end["error"], "the traceback of that rank"
    assert [e["event"] for e in bench.run(slot, bench.assignment("t1", ranks=2))] == ["report"] * 3 + ["returned"]


def test_what_fails_on_all_ranks_alike_is_said_as_of_one(
    told: Slot, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "CAUSE_SECONDS", PATIENCE)  # a busy machine may keep one rank behind
    given = bench.assignment(params={"lines": "raise ValueError('it broke')"}, ranks=2)
    assert bench.run(told, given)[0]["reason"] == "ValueError: it broke"


@pytest.mark.parametrize(
    ("lines", "reason"),
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
def test_ranks_that_do_not_report_alike_are_told_so(told: Slot, bench: Bench, lines: str, reason: str) -> None:
    (event,) = bench.run(told, bench.assignment(params={"lines": lines}, ranks=2))
    assert event["misuse"] and event["reason"].endswith(f"but {reason}. Call it on every rank.")


def test_ranks_that_all_leave_by_a_clean_exit_have_returned(told: Slot, bench: Bench) -> None:
    given = bench.assignment(params={"lines": "trial.report(loss=1)\nsys.exit(0)"}, ranks=2)
    assert [event["event"] for event in bench.run(told, given)] == ["report", "returned"]


@pytest.mark.parametrize("who", ["trial.rank == 1", "True"])
def test_ranks_that_take_their_group_down_have_returned(told: Slot, bench: Bench, who: str) -> None:
    lines = f"trial.report(loss=1)\nif {who}: torch.distributed.destroy_process_group()"
    given = bench.assignment(params={"lines": lines}, ranks=2)
    assert [event["event"] for event in bench.run(told, given)] == ["report", "returned"]


@pytest.mark.parametrize("ends", [False, True])
def test_a_stop_kills_all_ranks_in_the_middle_of_an_epoch(slot: Slot, bench: Bench, meetings: Path, ends: bool) -> None:
    slot.begin(bench.assignment(params={"fault": (1, 2), "how": "hang"}, ranks=2))
    hear(slot)
    slot.step()
    family = [pid(bench, rank) for rank in range(2)]
    assert all(map(alive, family))
    if ends:
        slot.end()
        assert not any(map(alive, family))
        assert not list(meetings.iterdir())
    slot.begin(bench.assignment("t1", ranks=2))
    assert not any(map(alive, family))
    assert [event["event"] for event in until_end(slot)] == ["report"] * 3 + ["returned"]
    assert len(list(meetings.iterdir())) == 1, "the first trial's is gone"


def test_a_stop_by_the_rule_kills_ranks_that_wait_for_the_decision(slot: Slot, bench: Bench) -> None:
    slot.begin(bench.assignment(ranks=2))
    hear(slot)
    family = [pid(bench, rank) for rank in range(2)]
    slot.begin(bench.assignment("t1"))
    assert not any(map(alive, family))
    assert len(until_end(slot)) == 4


def test_where_ranks_meet_is_swept_once_their_slot_was_killed(slot: Slot, bench: Bench, meetings: Path) -> None:
    dies = """
        import os, signal
        from tuner.slot.ranks import launch
        from tuner.trial import Assignment

        class Dies:
            def launch(self, assignment):
                os.kill(os.getpid(), signal.SIGKILL)

        launch(Dies(), Assignment(run="r", trial="t0", params={}, seed=1, metric="loss", epochs=1, ranks=2))
    """
    environment = {**os.environ, "TMPDIR": str(meetings)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(dies)], env=environment)
    assert len(list(meetings.iterdir())) == 1
    slot.begin(bench.assignment(ranks=2))
    hear(slot)
    (left,) = meetings.iterdir()
    assert left.name.startswith(f"{mark(os.getpid())}-"), "that of a slot that lives stays"


def test_ranks_where_there_is_no_fork(bench: Bench) -> None:
    slot = bench.slot(RANKED, fork=False)
    *reports, end = bench.run(slot, bench.assignment(ranks=2))
    assert end == {"event": "returned"}
    assert {event["metrics"]["rank"] for event in reports} == {0.5}


def test_one_process_goes_on_and_tests_what_two_ranks_have_saved_and_the_other_way_round(
    slot: Slot, bench: Bench
) -> None:
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
