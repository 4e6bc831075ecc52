"""One zygote for all slots of a machine: what it is asked for dies with whoever asked, and all with the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuner
from tuner.errors import UserError
from tuner.slot.launcher import Shared, Zygote
from tuner.slot.shared import SharedZygote

from .bench import Bench, alive, eventually, hear, until_end

COUNTS_IMPORTS = """
import os, time
from pathlib import Path

with open(Path(__file__).with_name("imports.txt"), "a") as file:
    print(os.getpid(), file=file)

def train(trial, sleep=0.0):
    for epoch in trial.epochs():
        device = len(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
        trial.report(loss=epoch, pid=os.getpid(), parent=os.getppid(), cuda=device)
        time.sleep(sleep)
"""


@pytest.fixture
def shared(bench: Bench) -> Iterator[SharedZygote]:
    with SharedZygote(bench.code(COUNTS_IMPORTS), cpus=1) as zygote:
        yield zygote


def test_slots_share_one_import_and_run_side_by_side(bench: Bench, shared: SharedZygote) -> None:
    slots = [bench.slot(bench.code(COUNTS_IMPORTS), shared=shared.address) for _ in range(3)]
    for number, slot in enumerate(slots):
        slot.begin(bench.assignment(f"t{number}"))
    metrics = [hear(slot)["metrics"] for slot in slots]
    assert len({reported["pid"] for reported in metrics}) == 3
    assert {reported["parent"] for reported in metrics} == {shared._process.pid}
    for slot in slots:
        assert until_end(slot)[-1]["event"] == "returned"
    assert len((bench.root / "code" / "imports.txt").read_text().split()) == 1


def test_a_slot_that_is_gone_takes_its_trial_along_and_no_other(bench: Bench, shared: SharedZygote) -> None:
    gone, other = (bench.slot(bench.code(COUNTS_IMPORTS), shared=shared.address) for _ in range(2))
    gone.begin(bench.assignment("t0", params={"sleep": 60.0}))
    other.begin(bench.assignment("t1"))
    pid = int(hear(gone)["metrics"]["pid"])
    hear(other)
    assert isinstance(gone._launcher, Shared)
    bench.slots.remove(gone)
    gone._launcher._control.close()  # as the kernel does when the slot's process dies
    eventually(lambda: not alive(pid))
    assert until_end(other)[-1]["event"] == "returned"


def test_without_the_shared_one_a_slot_starts_its_own(bench: Bench, shared: SharedZygote) -> None:
    slot = bench.slot(bench.code(COUNTS_IMPORTS), shared=shared.address)
    assert bench.run(slot)[-1]["event"] == "returned"
    os.kill(shared._process.pid, signal.SIGKILL)
    shared._process.wait()
    assert bench.run(slot, bench.assignment("t1"))[-1]["event"] == "returned"
    assert type(slot._launcher) is Zygote


def test_an_address_where_nothing_answers(bench: Bench) -> None:
    slot = bench.slot(bench.code(COUNTS_IMPORTS), shared=str(bench.root / "nothing"))
    assert bench.run(slot)[-1]["event"] == "returned"


def test_devices_are_those_of_the_slot(bench: Bench, shared: SharedZygote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8")
    slot = bench.slot(bench.code(COUNTS_IMPORTS), shared=shared.address)
    assert bench.run(slot, bench.assignment(gpus=2))[0]["metrics"]["cuda"] == len("7,8")
    assert bench.run(slot, bench.assignment("t1"))[0]["metrics"]["cuda"] == 0, "a trial without GPUs sees none"


NO_ROOM = (
    COUNTS_IMPORTS
    + """
fork, forks = os.fork, 0

def fork_or_not():
    global forks
    forks += 1
    if forks == 3 or forks > 3 and os.path.exists("full"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()

os.fork = fork_or_not
"""
)


def test_a_fork_that_fails_is_tried_again_and_costs_the_other_slots_nothing(bench: Bench) -> None:
    with SharedZygote(bench.code(NO_ROOM), cpus=1) as zygote:
        slots = [bench.slot(bench.code(NO_ROOM), shared=zygote.address) for _ in range(3)]
        for number, slot in enumerate(slots):
            slot.begin(bench.assignment(f"t{number}", params={"sleep": 0.5}))
            parent = hear(slot)["metrics"]["parent"]
            assert parent == zygote._process.pid
        for slot in slots:
            assert until_end(slot)[-1]["event"] == "returned"


def test_where_there_is_no_room_for_one_more_process_that_trial_is_lost_and_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.slot.slot.FORK_TRIES", 2)
    (bench.root / "full").touch()
    with SharedZygote(bench.code(NO_ROOM), cpus=1) as zygote:
        first, other, late = (bench.slot(bench.code(NO_ROOM), shared=zygote.address) for _ in range(3))
        for number, slot in enumerate((first, other)):
            slot.begin(bench.assignment(f"t{number}", params={"sleep": 1.0}))
            hear(slot)
        reason = "its process could not be forked: [Errno 11] Resource temporarily unavailable"
        assert bench.run(late, bench.assignment("t2")) == [{"event": "lost", "reason": reason}]
        for slot in (first, other):
            assert until_end(slot)[-1]["event"] == "returned"
        (bench.root / "full").unlink()
        assert bench.run(late, bench.assignment("t2"))[0]["metrics"]["parent"] == zygote._process.pid


def test_an_import_that_fails_is_told_early(bench: Bench) -> None:
    with SharedZygote(bench.code("import not_there"), cpus=1) as zygote:
        zygote._control.poll(60)
        with pytest.raises(
            UserError, match="cannot import user_module: ModuleNotFoundError: No module named 'not_there'"
        ):
            zygote.check()


def test_its_folder_goes_with_it(bench: Bench) -> None:
    with SharedZygote(bench.code(COUNTS_IMPORTS), cpus=1) as zygote:
        assert Path(zygote.address).exists()
        assert Path(zygote.address).parent.stat().st_mode & 0o777 == 0o700  # whoever may connect may run code
    assert not Path(zygote.address).parent.exists()


def test_all_trials_die_with_the_driver(bench: Bench) -> None:
    bench.code(COUNTS_IMPORTS)
    script = f"""
        import time
        from tuner.slot.code import Code
        from tuner.slot.shared import SharedZygote
        from tuner.slot.slot import Slot
        from tuner.trial import Assignment
        code = Code(module="user_module", function="train", root={str(bench.root / "code")!r})
        with SharedZygote(code, 1) as zygote:
            slot = Slot(code, 1, zygote.address)
            slot.begin(Assignment(run={str(bench.root / "run")!r}, trial="t0", params={{"sleep": 60.0}}, seed=1,
                                  metric="loss", epochs=3))
            while (event := slot.step())["event"] == "beat":
                pass
            print(int(event["metrics"]["pid"]), int(event["metrics"]["parent"]), flush=True)
            time.sleep(60)
    """
    home = str(Path(tuner.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": home},
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        assert all(alive(pid) for pid in pids)
        driver.kill()
    eventually(lambda: not any(alive(pid) for pid in pids))
