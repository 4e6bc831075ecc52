"""A process that takes over a trial: its predecessor is kept off, and what that one saved is not trained again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tuner.slot.fence import Hold, keep_off
from tuner.slot.slot import Slot
from tuner.trial import Assignment

from .bench import Bench, eventually, hear, until_end

COUNTS = """
class Counter:
    def __init__(self): self.n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

def train(trial):
    counter = Counter()
    trial.track(counter=counter)
    for epoch in trial.epochs():
        counter.n += 1
        print("trained", epoch, flush=True)
        trial.report(loss=counter.n)
"""


def trained(bench: Bench) -> list[int]:
    return [int(line.split()[1]) for line in bench.log().splitlines()]


def after_a_death(bench: Bench, epochs: int, **more: object) -> tuple[Slot, Assignment]:
    """Let a trial train some epochs; the test then takes it that they were not heard of."""
    slot, given = bench.slot(COUNTS), bench.assignment(judged_at=frozenset(), epochs=9, **more)
    bench.run(slot, replace(given, epochs=epochs))
    return slot, given


def test_epochs_that_were_saved_and_not_heard_of_are_taken_over(bench: Bench) -> None:
    slot, given = after_a_death(bench, 4)
    first = given.checkpoint_name(1)
    again = replace(given, attempt="2.0", checkpoint=first, epoch=1, epochs=6)
    events = bench.run(slot, again)
    assert [event.get("epoch") for event in events] == [2, 3, 4, 5, 6, None]
    assert [event["metrics"]["loss"] for event in events[:-1]] == [2, 3, 4, 5, 6]
    assert [event["checkpoint"] for event in events[:3]] == [given.checkpoint_name(epoch) for epoch in (2, 3, 4)]
    assert trained(bench) == [1, 2, 3, 4, 5, 6], "no epoch twice"


def test_reports_between_two_checkpoints_are_taken_over_with_the_second(bench: Bench) -> None:
    slot, given = after_a_death(bench, 4, save_every=2)
    events = bench.run(slot, replace(given, attempt="2.0", epochs=5))
    saved = [(event["epoch"], event["checkpoint"] is not None) for event in events[:-1]]
    assert saved == [(1, False), (2, True), (3, False), (4, True), (5, True)]
    assert trained(bench) == [1, 2, 3, 4, 5]


def test_a_torn_checkpoint_and_one_of_another_generation_are_passed_over(bench: Bench) -> None:
    slot, given = after_a_death(bench, 3)
    (bench.root / "run" / given.checkpoint_name(3) / "counter.json").write_text("{")
    (bench.root / "run" / given.checkpoint_name(2)).rename(bench.root / "run" / "trials/t0/checkpoints/g1_e0009_a1.0")
    events = bench.run(slot, replace(given, attempt="2.0", epochs=3))
    assert [event["epoch"] for event in events[:-1]] == [1, 2, 3]
    assert trained(bench) == [1, 2, 3, 2, 3]


def test_a_checkpoint_whose_predecessors_reports_are_gone_is_passed_over(bench: Bench) -> None:
    slot, given = after_a_death(bench, 5)
    (bench.root / "run" / given.checkpoint_name(4) / "manifest.json").unlink()
    events = bench.run(slot, replace(given, attempt="2.0", epochs=5))
    assert [event["epoch"] for event in events[:-1]] == [1, 2, 3, 4, 5], "no report is missing between two"
    assert trained(bench) == [1, 2, 3, 4, 5, 4, 5]


def test_a_process_that_takes_over_waits_for_the_word_on_its_own_first_report(bench: Bench) -> None:
    slot, given = after_a_death(bench, 4)
    slot.begin(replace(given, attempt="2.0", judged_at=None))
    assert [hear(slot)["epoch"] for _ in range(5)] == [1, 2, 3, 4, 5]
    time.sleep(1)
    assert trained(bench) == [1, 2, 3, 4, 5], "the word on the fourth was for no process"


def test_a_decision_on_an_epoch_taken_over_is_waited_for(bench: Bench) -> None:
    slot, given = after_a_death(bench, 4)
    slot.begin(replace(given, attempt="2.0", judged_at=frozenset({2})))
    assert [event["epoch"] for event in slot.stretch()] == [1, 2], "the third waits for the word on the second"
    slot.begin(bench.assignment("t1", epochs=1))
    assert until_end(slot)[0]["epoch"] == 1
    assert trained(bench) == [1, 2, 3, 4], "it was stopped, and nothing was begun"


def test_a_predecessor_on_this_machine_is_killed_before_another_begins(bench: Bench) -> None:
    source = """
    import time
    def train(trial):
        print("here", flush=True)
        time.sleep(1000)
    """
    first, second = bench.slot(source), bench.slot(source)
    first.begin(bench.assignment())
    log = bench.root / "run" / "trials" / "t0" / "log.txt"
    eventually(lambda: first.step()["event"] == "beat" and log.exists() and "here" in log.read_text())
    second.begin(bench.assignment(attempt="1.1"))
    assert hear(first)["reason"] == "its process was killed by SIGKILL in the middle of the trial"
    eventually(lambda: second.step()["event"] == "beat" and bench.log().count("here") == 2)


def test_a_process_that_waits_for_a_decision_holds_nothing(bench: Bench) -> None:
    first, second = bench.slot(COUNTS), bench.slot(COUNTS)
    first.begin(bench.assignment())
    assert hear(first)["epoch"] == 1
    second.begin(bench.assignment(checkpoint=bench.assignment().checkpoint_name(1), epoch=1))
    assert hear(second)["epoch"] == 2, "promoted to another worker, while its old process was still there"


@contextmanager
def holder(folder: Path, setting: str = "") -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the lock of a trial."""
    lines = (
        "import time", "from pathlib import Path", "from tuner.slot import fence", setting,
        f"hold = fence.Hold(Path({str(folder)!r}))", "print(hold.take(), flush=True)", "time.sleep(1000)",
    )  # fmt: skip
    command = [sys.executable, "-c", "\n".join(lines)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process


def test_a_lock_tells_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        mine = Hold(tmp_path)
        assert not mine.take()
        assert mine.holder() == process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert mine.take()
        assert mine.holder() == os.getpid()
        mine.give_back()
        mine.close()


def test_a_holder_on_another_machine_is_waited_for_and_never_killed(tmp_path: Path) -> None:
    with holder(tmp_path, 'fence.this_machine = lambda: "another"') as process:
        assert not keep_off(tmp_path, 0.2)
        assert process.poll() is None
        process.kill()
        process.wait()
        assert keep_off(tmp_path, 0.2)


def test_a_module_is_warmed_up_once_with_the_fixed_params_that_it_names(bench: Bench) -> None:
    code = bench.code(
        """
        import os
        warmed = []
        def warm_up(*, width=1, depth=2):
            warmed.append((os.getpid(), width, depth))
        def train(trial):
            (pid, width, depth), = warmed
            trial.report(loss=0, width=width, depth=depth, parent=pid == os.getppid())
        """,
        fixed={"width": 8, "lr": 0.1},
    )
    slot = bench.slot(code)
    for trial in ("t0", "t1"):
        event, *_ = bench.run(slot, bench.assignment(trial, epochs=1))
        assert event["metrics"] == {"loss": 0, "width": 8, "depth": 2, "parent": 1}


def test_a_warm_up_that_fails_ends_the_run_with_its_traceback(bench: Bench) -> None:
    code = bench.code("def warm_up(): raise ValueError('no data')\ndef train(trial): pass")
    (event,) = bench.run(bench.slot(code))
    assert event["misuse"]
    assert event["reason"] == "user_module: warm_up failed: ValueError: no data"
    assert "no data" in event["error"]


def test_what_runs_ahead_is_gathered_up_to_what_has_to_be_answered(bench: Bench) -> None:
    slot = bench.slot("def train(trial):\n    for epoch in range(1, 8): trial.report(loss=epoch)")
    slot.begin(bench.assignment(epochs=9, judged_at=frozenset({4})))
    heard: list[int] = []
    while 4 not in heard:
        heard += [event["epoch"] for event in slot.stretch() if event["event"] == "report"]
    assert heard == [1, 2, 3, 4]
    rest = slot.stretch()
    while rest[-1]["event"] != "returned":
        rest += slot.stretch()
    assert [event["epoch"] for event in rest if event["event"] == "report"] == [5, 6, 7]


def test_a_value_that_is_not_finite_is_waited_on(bench: Bench) -> None:
    slot = bench.slot("import math\ndef train(trial):\n    trial.report(loss=math.nan)\n    print('on', flush=True)")
    slot.begin(bench.assignment(epochs=9, judged_at=frozenset()))
    heard: list[int] = []
    while not heard:
        heard = [event["epoch"] for event in slot.stretch() if event["event"] == "report"]
    assert heard == [1]
    assert "on" not in bench.log()


def test_the_manifest_holds_what_was_reported_since_the_last_checkpoint(bench: Bench) -> None:
    _, given = after_a_death(bench, 4, save_every=3)
    manifest = json.loads((bench.root / "run" / given.checkpoint_name(3) / "manifest.json").read_text())
    assert [report["epoch"] for report in manifest["reports"]] == [1, 2, 3]
