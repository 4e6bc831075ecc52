"""Shares of GPUs that a cluster says it has: which one each trial sees, and that nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import nodes
from support import decided_alike

from tuner.core.records import Given
from tuner.core.state import replay
from tuner.ledger import read

SEES = """
import os, time

def train(trial, *, lr, width=8):
    for epoch in trial.epochs():
        time.sleep(0.2)
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        print("sees", repr(seen), flush=True)
        trial.report(loss=lr / epoch)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a cluster of one node that says it has two GPUs; gives its address."""
    with pytest.MonkeyPatch.context() as patch, nodes(patch, {"num_cpus": 8, "num_gpus": 2}) as (made, _):
        yield str(made.address)


def seen(run: Path) -> dict[str, set[str]]:
    """Read which GPUs each trial saw."""
    logs = {log.parent.name: log.read_text().splitlines() for log in (run / "trials").glob("*/log.txt")}
    return {name: {line.split()[1] for line in lines if line.startswith("sees")} for name, lines in logs.items()}


def test_shares_are_spread_over_the_gpus(
    cluster: str, launch: Callable[..., Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    write(
        SEES, budget={"trials": 4, "epochs": 4}, scheduler={"kind": "none"}, resources={"gpus": 0.25, "max_trials": 2}
    )
    larger = "each trial gets 1 of a GPU in place of 0.25, so that they lie on all GPUs; resources.placement: pack"
    assert larger in launch("--space", "mine.yaml", "--name", "spread", "--address", cluster).stdout
    run = tmp_path / "runs" / "spread"
    assert set().union(*seen(run).values()) == {"'0'", "'1'"}, "two at once, on two GPUs"
    assert all(len(gpus) == 1 for gpus in seen(run).values())
    given = [(record.trial, record.gpus) for record in read(run) if isinstance(record, Given)]
    assert given == [(f"t{i:04d}", 1.0) for i in range(4)]

    pack = ("--set", "resources.placement=pack")
    assert "in place of" not in launch("--space", "mine.yaml", "--name", "pack", "--address", cluster, *pack).stdout
    assert set().union(*seen(tmp_path / "runs" / "pack").values()) == {"'0'"}


def test_a_check_asks_the_cluster_and_refuses_as_a_run_does(
    cluster: str, launch: Callable[..., Any], write: Callable[..., Any]
) -> None:
    write(SEES, budget={"trials": 9, "epochs": 4}, resources={"gpus": 0.25})
    fits = launch("--space", "mine.yaml", "--check", "--address", cluster)
    assert "trials at once   8 on a cluster of 1 machines: 8 CPUs, 2 GPUs" in fits.stdout.splitlines()
    assert fits.stderr == ""

    flags = ("--space", "mine.yaml", "--address", cluster, "--set", "resources={gpus: 3, ranks: 1}")
    checked, begun = launch(*flags, "--check", code=3), launch(*flags, "--name", "big", code=3)
    assert "asks for 1 CPUs and 3 GPUs, and the largest has 8 CPUs and 2 GPUs." in checked.stderr
    assert checked.stderr.splitlines()[-1] == begun.stderr.splitlines()[-1]
    assert checked.stdout == ""


def test_wide_trials_wait_for_a_whole_gpu_all_end_and_one_without_sees_none(
    cluster: str, launch: Callable[..., Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    space = {"lr": {"dist": "float", "low": 0.1, "high": 1}, "width": {"dist": "choice", "values": [8, 16, 32]}}
    write(
        SEES, space=space, budget={"trials": 8, "epochs": 2}, scheduler={"kind": "none"},
        resources=[{"when": {"width": 32}, "gpus": 1}, {"when": {"width": 16}, "gpus": 0}, {"gpus": 0.5}],
    )  # fmt: skip
    launch("--space", "mine.yaml", "--name", "r", "--address", cluster)
    run = tmp_path / "runs" / "r"
    state = replay(read(run))
    assert {trial.outcome for trial in state.trials.values()} == {"finished"}
    given = {(trial.params["width"], trial.given.gpus) for trial in state.trials.values() if trial.given}
    assert given == {(32, 1.0), (8, 0.5)}
    without = {name for name, trial in state.trials.items() if trial.params["width"] == 16}
    saw = seen(run)
    assert without and all(saw[name] == {"''"} for name in without)
    decided_alike(run)


def test_trials_out_of_memory_get_the_whole_gpu_one_after_the_other(
    cluster: str, launch: Callable[..., Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    write(
        "def train(trial, *, lr):\n"
        "    if trial._assignment.gpus < 1: raise MemoryError('too little')\n"
        "    for epoch in trial.epochs(): trial.report(loss=lr / epoch)\n",
        budget={"trials": 4, "epochs": 2}, scheduler={"kind": "none"}, resources={"gpus": 0.5, "placement": "pack"},
    )  # fmt: skip
    launch("--space", "mine.yaml", "--name", "r", "--address", cluster)
    state = replay(read(tmp_path / "runs" / "r"))
    ends = {(trial.outcome, trial.losses, trial.given and trial.given.gpus) for trial in state.trials.values()}
    assert ends == {("finished", 1, 1.0)}, "no worker is kept that holds what another one waits for"
    told = launch("--why", "r/t0000").stdout
    assert "out of memory: MemoryError: too little; it gets 1 of a GPU now (memory)" in told
    decided_alike(tmp_path / "runs" / "r")
