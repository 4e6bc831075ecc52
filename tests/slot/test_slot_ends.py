"""How a trial can end, and what the slot says of it."""

from __future__ import annotations

import pytest

from .bench import Bench, hear, until_end


@pytest.mark.parametrize(
    "body", ["trial.report(loss=1)", "trial.report(loss=1)\nsys.exit(0)", "trial.report(loss=1)\nsys.exit()"]
)
def test_returning_and_leaving_with_0_end_a_trial(bench: Bench, body: str) -> None:
    events = bench.once(body)
    assert [event["event"] for event in events] == ["report", "returned"]
    assert events[0]["epoch"] == 1
    assert events[0]["metrics"] == {"loss": 1.0}
    assert events[0]["memory"] > 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(3)", "sys.exit(3)"),
        ("sys.exit('no data')", "sys.exit('no data')"),
        ("raise ValueError('bad\\nluck')", "ValueError: bad"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("os._exit(4)", "its process ended with exit code 4 in the middle of the trial"),
        ("os._exit(0)", "its process ended with exit code 0 in the middle of the trial"),
        (
            "import signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "its process was killed by SIGSEGV in the middle of the trial",
        ),
        (
            "os.closerange(3, 200); time.sleep(0.2); os._exit(5)",
            "its process ended with exit code 5 in the middle of the trial",
        ),
    ],
)
def test_other_ends_are_failures_with_the_reason(bench: Bench, body: str, reason: str) -> None:
    (event,) = bench.once(body)
    assert event["event"] == "failed"
    assert event["reason"] == reason
    assert event["misuse"] is False


@pytest.mark.parametrize("fork", [True, False])
def test_a_process_that_is_killed_loses_its_trial_which_goes_on(bench: Bench, fork: bool) -> None:
    body = """
        from pathlib import Path
        import signal
        class Nothing:
            def state_dict(self): return {}
            def load_state_dict(self, state): pass
        trial.track(nothing=Nothing())
        for epoch in trial.epochs():
            if epoch == 2 and not Path("killed").exists():
                Path("killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            trial.report(loss=epoch)
    """
    report, lost = bench.once(body, fork=fork)
    reason = "its process was killed by SIGKILL in the middle of the trial"
    assert lost == {"event": "lost", "reason": reason, "cause": "worker"}
    (slot,) = bench.slots
    rest = bench.run(slot, bench.assignment(checkpoint=report["checkpoint"], epoch=1, attempt="1.1"))
    assert [event.get("epoch") for event in rest] == [2, 3, None]
    assert rest[-1]["event"] == "returned"


def test_an_error_comes_with_its_traceback_here_and_in_the_log(bench: Bench) -> None:
    (event,) = bench.once("deep = [][3]")
    assert 'user_module.py", line 3, in train' in event["error"]
    assert "IndexError: list index out of range" in bench.log()


def test_a_segfault_leaves_where_it_was_in_the_log(bench: Bench) -> None:
    bench.once("import ctypes; ctypes.string_at(0)")
    assert "Segmentation fault" in bench.log()
    assert "user_module.py" in bench.log()


def test_texts_that_are_huge_or_no_text_travel(bench: Bench) -> None:
    (event,) = bench.once("raise ValueError('x' * 3_000_000 + chr(0xDCFF))")
    assert len(event["error"]) < 30_000
    assert len(event["reason"]) < 30_000
    assert "\\udcff" in event["error"]
    assert event["error"].encode().startswith(b"Traceback")


def test_an_error_whose_text_is_an_error(bench: Bench) -> None:
    (event,) = bench.once(
        """
        class Odd(Exception):
            def __str__(self): raise RuntimeError("no")
        raise Odd
        """
    )
    assert event["reason"] == "Odd: its text cannot be made"


def test_an_error_that_cannot_be_pickled(bench: Bench) -> None:
    (event,) = bench.once(
        """
        import threading
        class Odd(Exception):
            pass
        raise Odd("held", threading.Lock(), lambda: 0)
        """
    )
    assert event["reason"].startswith("Odd: ('held', <unlocked _thread.lock")


def test_misuse_of_the_trial_is_told_from_failure(bench: Bench) -> None:
    (event,) = bench.once("trial.report(accuracy=1)")
    assert event["misuse"] is True
    assert event["reason"] == (
        "UserError: trial.report: must hold the objective 'loss', but got 'accuracy'. "
        "Report 'loss', or name one of these as objective.metric."
    )


def test_a_big_report(bench: Bench) -> None:
    first, *_, last = bench.once("trial.report({f'metric {i}': i for i in range(50_000)}, loss=0)")
    assert len(first["metrics"]) == 50_001
    assert last["event"] == "returned"


def test_what_a_report_holds_is_plain(bench: Bench) -> None:
    event, _ = bench.once(
        """
        import numpy
        trial.report({numpy.str_("loss"): numpy.float32(0.5)}, epoch=numpy.int64(2))
        """
    )
    assert (type(event["epoch"]), event["epoch"]) == (int, 2)
    assert [(type(name), type(value)) for name, value in event["metrics"].items()] == [(str, float)]


def test_an_end_is_said_again_when_asked_again(bench: Bench) -> None:
    slot = bench.slot("def train(trial): trial.report(loss=1)")
    last = bench.run(slot)[-1]
    assert slot.step() is last


def test_a_message_counts_although_its_sender_is_gone(bench: Bench) -> None:
    """It reports its last epoch and dies at once: both are heard, in this order, however late one listens."""
    slot = bench.slot("import os\ndef train(trial):\n    trial.report(loss=1, epoch=3)\n    os._exit(7)")
    for number in range(20):
        slot.begin(bench.assignment(f"t{number}"))
        assert [event["event"] for event in until_end(slot)] == ["report", "failed"]


def test_an_end_that_nobody_listened_to_is_heard_later(bench: Bench) -> None:
    slot = bench.slot("def train(trial):\n    pass")
    slot.begin(bench.assignment())
    hear(slot)
    slot.begin(bench.assignment("t1"))
    child = slot._child
    assert child is not None
    while child.status is None:  # it is gone before anybody reads what it said
        child.status = slot._launcher.status(child, 1)
    assert hear(slot)["event"] == "returned"


def test_closed_streams_do_no_harm(bench: Bench) -> None:
    events = bench.once("sys.stdout.close()\nsys.stderr = None\ntrial.report(loss=1)\nraise ValueError('x')")
    assert [event["event"] for event in events] == ["report", "failed"]
    assert events[1]["reason"] == "ValueError: x"


def test_threads_and_exit_handlers_end_as_in_a_script(bench: Bench) -> None:
    slot = bench.slot(
        """
        import atexit, pathlib, threading, time
        def late(path):
            time.sleep(0.3)
            path.write_text("done")
        def train(trial):
            threading.Thread(target=late, args=[trial.folder / "thread"]).start()
            atexit.register((trial.folder / "exit").write_text, "done")
            atexit.register(lambda: 1 / 0)
            trial.report(loss=1)
        """
    )
    bench.run(slot)
    slot.begin(bench.assignment("t1"))
    folder = bench.root / "run" / "trials" / "t0"
    assert (folder / "thread").read_text() == (folder / "exit").read_text() == "done"
