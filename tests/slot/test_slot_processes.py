"""Each trial has a process of its own, and nothing of it is left when the slot goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .bench import Bench, alive, eventually, hear, open_files, until_end, zygote_of

pytestmark = pytest.mark.slow

WORKERS = """
    import os, sys, time
    import torch
    from torch.utils.data import DataLoader, Dataset, get_worker_info

    class Squares(Dataset):
        def __len__(self):
            return 64
        def __getitem__(self, index):
            if HANGS:
                time.sleep(1000)
            return torch.tensor([index ** 2, os.getpid()])

    HANGS = False

    def train(trial, context="fork", hangs=False):
        global HANGS
        HANGS = hangs
        before = len(sys.modules)
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        imported = len(sys.modules) - before
        loader = DataLoader(Squares(), batch_size=8, num_workers=2, multiprocessing_context=context)
        for epoch in trial.epochs():
            rows = torch.cat(list(trial.batches(loader)))
            workers = set(rows[:, 1].tolist()) - {os.getpid()}
            trial.report(loss=rows[:, 0].sum(), workers=len(workers), imported=imported)
"""


def test_the_function_runs_in_a_main_thread_with_nothing_else(bench: Bench) -> None:
    (event,) = bench.once(
        """
        import multiprocessing, signal, threading
        assert threading.current_thread() is threading.main_thread()
        assert len(os.listdir("/proc/self/task")) == 1
        signal.signal(signal.SIGTERM, lambda *_: None)
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        assert os.getpgrp() == os.getpid() == os.getsid(0)
        assert multiprocessing.get_start_method() == "fork"
        assert sys.stdin.read() == ""
        assert sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:4] == [0, 1, 2, 3]
        assert len(os.listdir("/proc/self/fd")) == 6  # the pipe to the slot, the lock, and the listing itself
        """
    )
    assert event["event"] == "returned", event


def test_an_interrupt_reaches_the_function(bench: Bench) -> None:
    (event,) = bench.once("import signal; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)")
    assert event["reason"] == "KeyboardInterrupt"


def test_output_goes_to_the_log_of_its_trial(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    slot = bench.slot(
        """
        import os, subprocess, sys
        print("at import", flush=False)
        def train(trial, text):
            print(text, "printed")
            sys.stderr.write(f"{text} complained\\n")
            subprocess.run(["echo", text, "echoed"])
            trial.report(loss=1)
            print(text, "late")
        """
    )
    for name in ("t0", "t1"):
        bench.run(slot, bench.assignment(name, params={"text": name}))
    slot.close()
    for name in ("t0", "t1"):
        assert sorted(bench.log(name).splitlines()) == [
            f"{name} {x}" for x in ("complained", "echoed", "late", "printed")
        ]


def test_the_log_is_whole_when_a_stopped_trial_waits(bench: Bench) -> None:
    slot = bench.slot("def train(trial):\n    print('before')\n    trial.report(loss=1)")
    slot.begin(bench.assignment())
    hear(slot)
    slot.begin(bench.assignment("t1"))
    assert bench.log() == "before\n"


def test_globals_are_clean_in_each_trial(bench: Bench) -> None:
    slot = bench.slot(
        """
        import os, random
        SEEN = []
        def train(trial):
            SEEN.append(trial.id)
            os.environ["SEEN"] = os.environ.get("SEEN", "") + "x"
            trial.report(loss=len(SEEN), env=len(os.environ["SEEN"]), drawn=random.random())
        """
    )
    metrics = [bench.run(slot, bench.assignment(f"t{i}"))[0]["metrics"] for i in range(3)]
    assert metrics[0] == metrics[1] == metrics[2]
    assert metrics[0]["loss"] == metrics[0]["env"] == 1


def test_workers_of_a_loader_work_and_are_gone_after_a_stop(bench: Bench) -> None:
    slot = bench.slot(WORKERS)
    for context in ("fork", "spawn"):
        slot.begin(bench.assignment(params={"context": context}))
        # An optimizer imports nothing: the zygote has done so once, for all trials.
        assert hear(slot)["metrics"] == {"loss": sum(i**2 for i in range(64)), "workers": 2, "imported": 0}
        assert slot._child is not None
        group = slot._child.pid
        slot.begin(bench.assignment("t1", params={"hangs": True}))
        eventually(lambda group=group: not members(group))

    group = slot._child.pid
    eventually(lambda: len(members(group)) == 3)
    assert slot.step()["event"] == "beat"
    slot.begin(bench.assignment("t2", epochs=1))
    eventually(lambda: not members(group))
    assert [event["event"] for event in until_end(slot)] == ["report", "returned"]


def test_a_trial_that_ignores_signals_is_killed_in_the_middle_of_an_epoch(bench: Bench) -> None:
    slot = bench.slot(
        """
        import signal, time
        def train(trial):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            trial.report(loss=1)
            while True:
                try:
                    time.sleep(1000)
                except BaseException:
                    pass
        """
    )
    slot.begin(bench.assignment())
    hear(slot)
    assert slot.step()["event"] == "beat"
    assert slot._child is not None
    pid = slot._child.pid
    slot.close()
    assert not alive(pid)


def test_an_end_leaves_no_process_and_the_slot_goes_on(bench: Bench) -> None:
    slot = bench.slot(
        """
        import time
        def train(trial, naps=1000):
            trial.report(loss=1)
            time.sleep(naps)
        """
    )
    slot.begin(bench.assignment(judged_at=frozenset()))
    hear(slot)
    assert slot.step()["event"] == "beat", "it trains on"
    assert slot._child is not None
    pid = slot._child.pid
    slot.end()
    assert not alive(pid)
    slot.end()
    assert [event["event"] for event in bench.run(slot, bench.assignment("t1", params={"naps": 0}))] == [
        "report",
        "returned",
    ]


def test_a_trial_that_ends_before_its_module_is_imported_never_runs(bench: Bench) -> None:
    slot = bench.slot("import time\ntime.sleep(2)\ndef train(trial):\n    trial.report(loss=1)")
    slot.begin(bench.assignment())
    slot.end()
    events = bench.run(slot, bench.assignment("t1"))
    assert [event["event"] for event in events] == ["report", "returned"]
    assert bench.log() == ""


@pytest.mark.parametrize(
    "end", ["os._exit(1)", "return", "raise ValueError", "trial.report(loss=2)", "time.sleep(1000)"]
)
def test_what_a_trial_started_ends_with_it(bench: Bench, end: str) -> None:
    slot = bench.slot(
        f"""
        import os, subprocess, time
        def train(trial):
            sleeper = subprocess.Popen(["sleep", "1000"])
            if os.fork() == 0:
                time.sleep(1000)
            trial.report(loss=1, group=os.getpid())
            {end}
        """
    )
    slot.begin(bench.assignment())
    group = int(hear(slot)["metrics"]["group"])
    assert len(members(group)) == 3
    slot.step()
    slot.begin(bench.assignment("t1"))
    eventually(lambda: members(group) == [])


def test_a_trial_stopped_before_it_has_a_group_is_gone(bench: Bench) -> None:
    slot = bench.slot("import time\ndef train(trial):\n    time.sleep(1000)")
    slot.begin(bench.assignment())
    while slot._child is None:
        slot.step()
    for number in range(50):
        slot.begin(bench.assignment(f"t{number}"))
    last = slot._child.pid
    slot.close()
    assert not alive(last)


def test_heartbeats_come_while_the_module_is_imported_and_while_it_trains(bench: Bench) -> None:
    slot = bench.slot("import time\ntime.sleep(1.2)\ndef train(trial):\n    time.sleep(1000)")
    slot.begin(bench.assignment())
    assert slot._child is None
    assert slot.step()["event"] == "beat"
    while slot._child is None:
        assert slot.step()["event"] == "beat"
    assert slot.step()["event"] == "beat"


def test_no_descriptor_process_or_folder_is_left_by_200_trials(bench: Bench) -> None:
    slot = bench.slot("import os\ndef train(trial):\n    trial.report(loss=len(os.listdir('/proc/self/fd')))")
    bench.run(slot)
    before, inside = open_files(), set()
    for number in range(200):
        slot.begin(bench.assignment(f"t{number % 5}"))
        inside.add(hear(slot)["metrics"]["loss"])
        if number % 2:
            slot.step()
    slot.begin(bench.assignment())
    hear(slot)
    assert open_files() == before
    assert len(inside) == 1
    assert len(os.listdir(f"/proc/{zygote_of(slot)}/fd")) <= 8
    assert defunct(zygote_of(slot)) == []
    slot.close()
    assert open_files() == before - 2  # the zygote's and the last trial's


def members(group: int) -> list[int]:
    """List the living processes of a group."""
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if alive(int(p.name)) and group_of(int(p.name)) == group]


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def defunct(parent: int) -> list[str]:
    """List the dead children for whom a process has not waited."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] == "Z" and int(fields[1]) == parent:
            stats.append(path.parent.name)
    return stats
