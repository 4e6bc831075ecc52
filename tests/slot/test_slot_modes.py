"""Where a fork of the imported module would not be whole: a zygote that imports less, or a process for each trial."""

from __future__ import annotations

import os
import signal
import textwrap

import pytest

from tuner.slot.launcher import Fresh, Zygote

from .bench import Bench, hear, until_end, zygote_of

THREADED = """
    import sys, threading, time
    {imports}
    threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
"""
TORCH = """
    class cuda:
        is_initialized = staticmethod(bool)
    def __getattr__(name):
        return lambda *_: None
"""
PLAIN = """
    import os, random
    def train(trial):
        for epoch in trial.epochs():
            trial.report(loss=random.random(), parent=os.getppid())
"""


def threaded(imports: str = "") -> str:
    return textwrap.dedent(THREADED.format(imports=imports)) + textwrap.dedent(PLAIN)


def test_a_module_with_threads_is_imported_by_each_trial_itself(bench: Bench) -> None:
    slot = bench.slot(threaded())
    events = bench.run(slot)
    assert [event["event"] for event in events] == ["report"] * 3 + ["returned"]
    assert isinstance(slot._launcher, Zygote)
    assert slot._launcher.bare == []
    assert events[0]["metrics"]["parent"] == zygote_of(slot)
    zygote = zygote_of(slot)
    bench.run(slot, bench.assignment("t1"))
    assert zygote_of(slot) == zygote


def test_a_zygote_without_the_module_has_torch_if_the_module_has(bench: Bench) -> None:
    slot = bench.slot(threaded("import torch"))
    assert bench.run(slot)[0]["event"] == "report"
    assert isinstance(slot._launcher, Zygote)
    assert slot._launcher.bare == ["torch"]


def test_a_lost_zygote_without_the_module_gets_its_like(bench: Bench) -> None:
    slot = bench.slot(threaded())
    bench.run(slot)
    os.kill(zygote_of(slot), signal.SIGKILL)
    bench.run(slot, bench.assignment("t1"))
    assert isinstance(slot._launcher, Zygote)
    assert slot._launcher.bare == []


def test_a_zygote_that_is_not_whole_even_so_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `torch` that starts a thread stands for one that a plugin of an accelerator joins."""
    bench.code(textwrap.dedent(THREADED.format(imports="")) + textwrap.dedent(TORCH), "torch")
    monkeypatch.setenv("PYTHONPATH", str(bench.root / "code"))
    slot = bench.slot(
        bench.code("import torch, os\ndef train(trial):\n    open('parent', 'w').write(str(os.getppid()))")
    )
    slot.begin(bench.assignment())
    hear(slot)
    assert isinstance(slot._launcher, Fresh)
    assert (bench.root / "parent").read_text() == str(os.getpid())


def test_each_trial_is_a_process_of_its_own_without_a_fork(bench: Bench) -> None:
    slot = bench.slot(bench.code(PLAIN), fork=False)
    for name in ("t0", "t1"):
        events = bench.run(slot, bench.assignment(name))
        assert [event["event"] for event in events] == ["report"] * 3 + ["returned"]
        assert events[0]["metrics"]["parent"] == os.getpid()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("raise ValueError('x')", "ValueError: x"),
        ("os._exit(0)", "its process ended with exit code 0 in the middle of the trial"),
        ("os.abort()", "its process was killed by SIGABRT in the middle of the trial"),
    ],
)
def test_ends_without_a_fork(bench: Bench, end: str, reason: str) -> None:
    assert bench.once(end, fork=False)[-1]["reason"] == reason


def test_a_stop_without_a_fork(bench: Bench) -> None:
    slot = bench.slot(
        bench.code("import time\ndef train(trial):\n    trial.report(loss=1)\n    time.sleep(1000)"), fork=False
    )
    slot.begin(bench.assignment())
    hear(slot)
    assert slot.step()["event"] == "beat"
    slot.begin(bench.assignment("t1"))
    slot.begin(bench.assignment("t2"))  # at once: it has no group yet
    assert hear(slot)["event"] == "report"


def test_all_ways_give_the_same_numbers(bench: Bench) -> None:
    plain, thread = bench.code(PLAIN, "plain"), bench.code(threaded(), "thread")
    slots = [bench.slot(plain), bench.slot(thread), bench.slot(plain, fork=False)]
    for number, slot in enumerate(slots):
        slot.begin(bench.assignment(f"t{number}"))
    losses = [[event["metrics"]["loss"] for event in until_end(slot)[:-1]] for slot in slots]
    assert losses[0] == losses[1] == losses[2]
    assert len(set(losses[0])) == 3
