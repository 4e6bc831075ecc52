"""One zygote for all slots of a machine."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuner.errors import UserError
from tuner.slot.launcher import Shared
from tuner.slot.shared import SharedZygote
from tuner.slot.slot import Slot

from .bench import Bench, alive, children, eventually, hear, until_end, zygote_of

LONG = """
    import os, time
    def train(trial, sleep=1000):
        trial.report(loss=1, parent=os.getppid(), devices=int(os.environ.get("CUDA_VISIBLE_DEVICES", -1)))
        time.sleep(sleep)
"""
Share = Callable[..., SharedZygote]


@pytest.fixture
def share(bench: Bench) -> Iterator[Share]:
    shared: list[SharedZygote] = []

    def start(source: str) -> SharedZygote:
        shared.append(SharedZygote(bench.code(source), 1))
        return shared[-1]

    yield start
    for one in shared:
        one.close()


def slots(bench: Bench, shared: SharedZygote, count: int = 2) -> list[Slot]:
    return [bench.slot(bench.code(LONG), shared=shared.address) for _ in range(count)]


def pid(slot: Slot) -> int:
    assert slot._child is not None
    return slot._child.pid


def test_slots_side_by_side(bench: Bench, share: Share) -> None:
    shared = share(LONG)
    one, two = slots(bench, shared)
    for number in range(3):
        one.begin(bench.assignment(f"a{number}"))
        two.begin(bench.assignment(f"b{number}"))
        assert hear(one)["metrics"]["parent"] == hear(two)["metrics"]["parent"] == shared._process.pid
    mine, other = pid(one), pid(two)
    one.close()
    eventually(lambda: not alive(mine))
    assert alive(other)
    two.begin(bench.assignment("b3", params={"sleep": 0}))
    assert [event["event"] for event in until_end(two)] == ["report", "returned"]


def test_a_slot_that_dies_takes_its_trial_along(bench: Bench, share: Share) -> None:
    """As when an actor is killed: nobody says goodbye, the connection ends."""
    shared = share(LONG)
    one, two = slots(bench, shared)
    for slot in (one, two):
        slot.begin(bench.assignment())
        hear(slot)
    mine, other = pid(one), pid(two)
    assert isinstance(one._launcher, Shared)
    one._launcher._control.close()
    eventually(lambda: not alive(mine))
    assert alive(other)
    bench.slots.remove(one)


def test_what_a_slot_asked_for_a_moment_before_it_died_is_gone_too(bench: Bench, share: Share) -> None:
    shared = share(LONG)
    (watch,) = slots(bench, shared, 1)
    watch.begin(bench.assignment())
    hear(watch)
    for number in range(20):
        (slot,) = slots(bench, shared, 1)
        slot.begin(bench.assignment(f"t{number}"))
        while slot._child is None:
            slot.step()
        assert isinstance(slot._launcher, Shared)
        slot._launcher._control.close()
        slot._child.connection.close()
        bench.slots.remove(slot)
    eventually(lambda: children(shared._process.pid) == [pid(watch)])


def test_a_lost_zygote_is_replaced_by_one_of_the_slots_own(bench: Bench, share: Share) -> None:
    shared = share(LONG)
    one, two = slots(bench, shared)
    one.begin(bench.assignment())
    hear(one)
    os.kill(shared._process.pid, signal.SIGKILL)
    event = hear(one)
    assert event["reason"] == "the process that it was forked from is gone: it answers no more"
    for slot in (one, two):
        slot.begin(bench.assignment(params={"sleep": 0}))
        assert hear(slot)["event"] == "report"
        assert zygote_of(slot) != shared._process.pid


def test_an_import_that_fails_is_told_to_all(bench: Bench, share: Share) -> None:
    shared = share("raise ValueError('mine')")
    for slot in slots(bench, shared):
        (event,) = bench.run(slot)
        assert event["misuse"] is True
    with pytest.raises(UserError, match=r"(?s)cannot import user_module: ValueError: mine.*Traceback"):
        shared.check()


def test_what_the_module_starts_does_not_disturb(bench: Bench, share: Share) -> None:
    shared = share("import subprocess\nsubprocess.Popen(['sleep', '0.2'])\n" + "def train(trial): trial.report(loss=1)")
    (slot,) = slots(bench, shared, 1)
    bench.run(slot)
    eventually(lambda: children(shared._process.pid) == [])
    assert bench.run(slot, bench.assignment("t1"))[-1]["event"] == "returned"
    assert slot._launcher.usable
    assert isinstance(slot._launcher, Shared)


def test_a_trial_sees_the_devices_of_its_slot(bench: Bench, share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = share(LONG)
    for devices, slot in zip("10", slots(bench, shared), strict=True):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        slot.begin(bench.assignment())
        assert hear(slot)["metrics"]["devices"] == int(devices)


def test_nobody_else_may_connect(share: Share) -> None:
    shared = share(LONG)
    folder = Path(shared.address).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    shared.close()
    assert not folder.exists()
