"""Processes that die under the slot, and the slot that dies under its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .bench import Bench, alive, children, eventually, hear, open_files, zygote_of


def test_a_killed_zygote_takes_its_trial_along_and_gets_a_successor(bench: Bench) -> None:
    slot = bench.slot("import time\ndef train(trial, pause=0):\n    trial.report(loss=1)\n    time.sleep(pause)")
    slot.begin(bench.assignment(params={"pause": 1000}))
    hear(slot)
    child, before = slot._child, open_files()
    assert child is not None
    os.kill(zygote_of(slot), signal.SIGKILL)
    event = hear(slot)
    assert event["event"] == "lost"
    assert event["reason"].startswith("the process that it was forked from is gone: its process was killed by SIGKILL")
    eventually(lambda: not alive(child.pid))
    assert [event["event"] for event in bench.run(slot, bench.assignment("t1"))] == ["report", "returned"]
    assert open_files() == before


def test_a_zygote_killed_between_two_trials_is_replaced_in_silence(bench: Bench) -> None:
    slot = bench.slot("def train(trial):\n    trial.report(loss=1)")
    bench.run(slot)
    os.kill(zygote_of(slot), signal.SIGKILL)
    assert [event["event"] for event in bench.run(slot, bench.assignment("t1"))] == ["report", "returned"]


def test_a_zygote_killed_while_it_imports_is_a_failure_and_the_next_trial_works(bench: Bench) -> None:
    slot = bench.slot(
        "import os, time\nif not os.path.exists('go'):\n    time.sleep(1000)\ndef train(trial):\n    pass"
    )
    slot.begin(bench.assignment())
    os.kill(zygote_of(slot), signal.SIGKILL)
    assert "SIGKILL" in hear(slot)["reason"]
    (bench.root / "go").touch()
    assert bench.run(slot, bench.assignment("t1"))[0]["event"] == "returned"


HOLDER = """
    import time
    from pathlib import Path
    from tests.slot.bench import Bench, zygote_of
    from tuner.slot.code import Code
    bench = Bench(Path({root!r}))
    slot = bench.slot(Code(module="user_module", function="train", root={root!r} + "/code"))
    slot.begin(bench.assignment())
    while {training} and slot.step()["event"] == "beat":
        pass
    print(zygote_of(slot), flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("training", [True, False])
def test_all_processes_die_with_the_one_that_holds_the_slot(bench: Bench, training: bool) -> None:
    pause = "" if training else "time.sleep(1000)"
    bench.code(f"import time\n{pause}\ndef train(trial):\n    trial.report(loss=1)\n    time.sleep(1000)")
    source = textwrap.dedent(HOLDER.format(root=str(bench.root), training=training))
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        zygote = int(process.stdout.readline())
        eventually(lambda: len(children(zygote)) == training)
        family = [zygote, *children(zygote)]
        process.kill()
    eventually(lambda: not any(alive(pid) for pid in family))
