"""Processes that die under the slot, and the slot that dies under its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tuner.slot.shared import SharedZygote

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


IMPORTS_FOR_EVER = """
    import os, time
    if not os.path.exists("go"):
        time.sleep(1000)
    def train(trial):
        pass
"""


def test_a_zygote_killed_while_it_imports_loses_its_trial_which_begins_again(bench: Bench) -> None:
    slot = bench.slot(IMPORTS_FOR_EVER)
    slot.begin(bench.assignment())
    os.kill(zygote_of(slot), signal.SIGKILL)
    reason = "its process was killed by SIGKILL while it imported the trainable"
    assert hear(slot) == {"event": "lost", "reason": reason, "cause": "worker"}
    (bench.root / "go").touch()
    assert bench.run(slot, bench.assignment())[0]["event"] == "returned"


def test_a_shared_zygote_killed_while_it_imports_costs_no_slot_its_trial(bench: Bench) -> None:
    code = bench.code(IMPORTS_FOR_EVER)
    with SharedZygote(code, cpus=1) as zygote:
        slots = [bench.slot(code, shared=zygote.address) for _ in range(2)]
        for number, slot in enumerate(slots):
            slot.begin(bench.assignment(f"t{number}"))
        zygote._process.kill()
        for slot in slots:
            event = hear(slot)
            assert (event["event"], event["cause"]) == ("lost", "worker")
            assert event["reason"].endswith("while it imported the trainable")
    (bench.root / "go").touch()
    for number, slot in enumerate(slots):
        assert bench.run(slot, bench.assignment(f"t{number}"))[0]["event"] == "returned"


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("ctypes.string_at(0)", "was killed by SIGSEGV"),
        ("os._exit(3)", "ended with exit code 3"),
    ],
)
def test_an_import_that_ends_its_process_is_the_codes_fault_once_a_slot_has_tried_it_alone(
    bench: Bench, end: str, how: str
) -> None:
    code = bench.code(f"import ctypes, os, time\ntime.sleep(1)\n{end}\ndef train(trial): pass")
    with SharedZygote(code, cpus=1) as zygote:
        slot = bench.slot(code, shared=zygote.address)
        assert bench.run(slot)[0]["event"] == "lost"
        (event,) = bench.run(slot)
        assert (event["event"], event["reason"]) == ("failed", f"its process {how} while it imported the trainable")
        other = bench.slot(code, shared=zygote.address)  # of a worker that starts when the shared one is gone
        assert bench.run(other)[0]["event"] == "failed"


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
