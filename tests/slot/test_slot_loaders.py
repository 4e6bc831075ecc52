"""A worker of a DataLoader that dies: a kill comes from outside, or from the kernel; the rest is the code's."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.slot.slot import Slot

from .bench import Bench

SOURCE = """
    import os, signal
    from concurrent.futures import ThreadPoolExecutor

    from torch.utils.data import DataLoader, Dataset, _utils
    import tuner.slot.process

    _utils.MP_STATUS_CHECK_INTERVAL = 0.2

    class Data(Dataset):
        def __init__(self, end):
            self.end = end
        def __len__(self):
            return 100
        def __getitem__(self, index):
            if index == 21:
                exec(self.end)
            return float(index)

    def read(end, workers):
        for batch in DataLoader(Data(end), batch_size=4, num_workers=workers):
            pass

    def train(trial, end, workers=1, how="", kernel=False):
        if kernel:
            tuner.slot.process.kernel_kills = lambda: 10**9
        if how == "thread":  # there torch cannot listen for the ends of processes
            with ThreadPoolExecutor(1) as pool:
                pool.submit(read, end, workers).result()
        elif how == "wrapped":
            try:
                read(end, workers)
            except Exception as error:
                raise ValueError("the data cannot be read") from error
        else:
            read(end, workers)
        trial.report(loss=1)
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def slot(shared: Bench) -> Slot:
    return shared.slot(shared.code(SOURCE))


def end(slot: Slot, bench: Bench, trial: str = "t0", **params: Any) -> dict[str, Any]:
    return bench.run(slot, bench.assignment(trial, params=params))[-1]


def test_a_worker_that_is_killed_loses_its_trial_whatever_came_of_it_first(slot: Slot, bench: Bench) -> None:
    """It is heard of by a connection that breaks, by torch's handler, or by both, in either order."""
    for number in range(8):
        event = end(slot, bench, f"t{number}", end=KILL, workers=1 + number % 2)
        reason = "a worker of its DataLoader was killed by SIGKILL in the middle of the trial"
        assert (event["event"], event["reason"], event["cause"]) == ("lost", reason, "worker")
        assert "user_module.py" in event["error"]
        assert event["error"] in bench.log(f"t{number}")


@pytest.mark.parametrize("how", ["thread", "wrapped"])
def test_it_is_lost_too_where_torch_cannot_listen_or_the_error_is_wrapped(slot: Slot, bench: Bench, how: str) -> None:
    assert end(slot, bench, end=KILL, how=how)["event"] == "lost"


def test_one_that_the_kernel_kills_for_memory_is_infeasible(slot: Slot, bench: Bench) -> None:
    event = end(slot, bench, end=KILL, kernel=True)
    assert (event["event"], event["outcome"]) == ("failed", "infeasible")
    assert event["reason"] == "out of memory: a worker of its DataLoader was killed by the kernel"
    assert "user_module.py" in event["error"]


@pytest.mark.parametrize(
    "how", ["raise ValueError('x')", "raise EOFError('x')", "os._exit(3)", "os.kill(os.getpid(), signal.SIGSEGV)"]
)
def test_other_ends_of_a_worker_are_failures_with_the_error(slot: Slot, bench: Bench, how: str) -> None:
    for workers in (1, 2):
        event = end(slot, bench, f"t{workers}", end=how, workers=workers)
        assert (event["event"], event.get("outcome")) == ("failed", None)
        assert "user_module.py" in event["error"]
        if "raise" in how:
            assert event["reason"].startswith(f"{how[6:].partition('(')[0]}: Caught")
