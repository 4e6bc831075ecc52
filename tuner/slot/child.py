"""One trial's process: run the user's function in the main thread, and say how it ended."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing import util
from multiprocessing.connection import Connection
from typing import Any

from tuner.errors import UserError
from tuner.slot import loaders
from tuner.slot.advice import advice
from tuner.slot.code import Code
from tuner.slot.fence import Hold
from tuner.slot.memory import is_of_gpu, is_out_of_memory, kernel_kills
from tuner.slot.process import killed
from tuner.storage import is_full
from tuner.trial import Assignment, Trial, formats, growth, randomness
from tuner.trial.channel import Costs, Probed, Tested
from tuner.trial.meter import meter
from tuner.trial.ranks import is_echo, join

Message = dict[str, Any]
"""What a child sends: `event` is report, full, note, returned, tested, probed, failed or lost; see the slot."""
FULL_SECONDS = 1.0
LONGEST = 20_000
"""So many characters of an error are kept, from its beginning and its end: it travels, and becomes a record."""


class Pipe:
    """Sends reports to the slot, and waits for the word to go on."""

    def __init__(self, connection: Connection, assignment: Assignment, hold: Hold | None) -> None:
        self.connection, self.assignment, self.hold = connection, assignment, hold
        self.last = assignment.epoch
        self.trial: Trial | None = None
        """The trial that reports through it."""
        self.meter = meter(assignment.gpus, assignment.context)

    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, costs: Costs) -> None:
        """Send one report, and wait where it is judged; a process that may not go on is killed, here or later."""
        _flush()
        facts = {"epoch": epoch, "metrics": metrics, "checkpoint": checkpoint, **asdict(costs)}
        self.connection.send({"event": "report", **facts})
        waits, self.last = self.assignment.waits(self.last, epoch, metrics), epoch
        if waits:
            self._wait()

    def full(self, reason: str) -> None:
        """Tell the slot that the disk is full, and wait a moment."""
        self.connection.send({"event": "full", "reason": reason})
        time.sleep(FULL_SECONDS)

    def note(self, text: str) -> None:
        """Write a note into the trial's log, and leave it with the slot, which knows it when this process is killed."""
        growth.say(text)
        self.connection.send({"event": "note", "text": text})

    def _wait(self) -> None:
        """Wait for the decision; meanwhile another process may take the trial over, and then this one is at its end."""
        if self.hold is not None:
            self.hold.give_back()
        self.connection.recv()
        if self.hold is not None and not self.hold.take():
            os._exit(1)


def run(code: Code, assignment: Assignment, connection: Connection) -> int:
    """Run the function and send its end; returns the process's exit code."""
    # The ranks of a trial live and die together: the lock of the first is that of all.
    trains = assignment.task in ("train", "probe")
    hold = Hold(assignment.folder) if trains and assignment.rank == 0 else None
    try:
        if hold is not None and not hold.take():
            connection.send({"event": "lost", "reason": "another process trains this trial"})
            return 1
    except OSError as error:  # a disk without room for a line
        connection.send({"event": "lost", "reason": str(error), "cause": "disk" if is_full(error) else "worker"})
        return 1
    message = import_problem(code) or _end(code, assignment, Pipe(connection, assignment, hold))
    failed = message["event"] == "failed"
    if message.get("error"):
        with contextlib.suppress(Exception):  # the user may have closed or replaced it
            print(message["error"], file=sys.stderr)
    _flush()
    connection.send(message)
    if assignment.ranks > 1:
        _await_others(connection)
    return int(failed)


def _await_others(connection: Connection) -> None:
    """Keep the connections to the other ranks open until the slot has heard them: each shall say what is its own."""
    with contextlib.suppress(EOFError, OSError):
        while connection.recv() != "leave":
            pass


def import_problem(code: Code) -> Message | None:
    """Import the function; tell what went wrong, if anything did."""
    try:
        code.load()
    except BaseException as error:
        return _failure(f"cannot import {code.file or code.module}: {_first_line(error)}", misuse=True)
    return None


def warm_up_problem(code: Code) -> Message | None:
    """Call the module's `warm_up`; tell what went wrong, if anything did."""
    try:
        code.warm_up()
    except BaseException as error:
        return _failure(f"{code.file or code.module}: warm_up failed: {_first_line(error)}", misuse=True)
    return None


def forget_exit_handlers() -> None:
    """Leave to the zygote what was registered in it to happen at its end; what the trial registers happens at its own.

    As after any fork by multiprocessing. It would also cost 50 ms a trial, for finalizers of torch's.
    """
    atexit._clear()
    atexit.register(logging.shutdown)
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]


def leave(status: int) -> None:
    """End the process as a script would, but without taking the interpreter apart."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # joins the threads that the user started
        util._exit_function()  # type: ignore[attr-defined]  # joins the processes
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(status)


def _end(code: Code, assignment: Assignment, pipe: Pipe) -> Message:
    """Run the function; of a probe its end says nothing: cut short, it may go wrong where the training will not."""
    message = _outcome(code, assignment, pipe)
    if assignment.task != "probe" or message["event"] == "lost" or message.get("outcome") == "infeasible":
        return message
    assert pipe.trial is not None
    costs = pipe.trial.costs()
    step = message.get("step") or costs.step
    return {"event": "probed", "gpu_memory": costs.gpu_memory, "context": costs.context, "step": step}


def _outcome(code: Code, assignment: Assignment, pipe: Pipe) -> Message:
    kernel_had = kernel_kills()
    try:
        try:
            return _call(code, assignment, pipe)
        except BaseException:
            loaders.silence()  # else a loader's worker that dies raises once more, in what follows
            raise
    except Tested as done:
        return {"event": "tested", "metrics": done.metrics}
    except Probed as done:
        return {"event": "probed", "step": done.step}
    except SystemExit as stop:
        return _failure(f"sys.exit({stop.code!r})")
    except BaseException as error:
        if isinstance(error, OSError) and is_full(error):
            return {"event": "lost", "reason": _clean(_first_line(error)), "cause": "disk"}
        if is_out_of_memory(error):
            splits = pipe.trial is not None and pipe.trial.could_split
            why = pipe.trial.growth.explain(error) if pipe.trial is not None else ""
            failure = _failure(f"out of memory: {_first_line(error)}{f' ({why})' if why else ''}")
            return {**failure, "outcome": "infeasible", "splits": splits, "on_gpu": is_of_gpu(error)}
        if loaders.worker_was_killed(error):
            note = pipe.trial.growth.note if pipe.trial is not None else ""
            message = killed("a worker of its DataLoader", kernel_had, note)
            return {**message, "error": _clean(traceback.format_exc())}
        hint = advice(error)
        failure = _failure(_first_line(error) + (f" ({hint})" if hint else ""), misuse=isinstance(error, UserError))
        return {**failure, "echo": True} if assignment.ranks > 1 and is_echo(error) else failure


def _call(code: Code, assignment: Assignment, pipe: Pipe) -> Message:
    function: Callable[..., Any] = code.load()
    randomness.seed_all(assignment.seed)
    if assignment.task == "take":
        return {"event": "taken", **formats.write(function, assignment)}
    ranks = join(assignment)
    trial = pipe.trial = Trial(assignment, pipe, ranks, pipe.meter)
    trial.growth.tell = pipe.note
    if assignment.task == "probe":
        print("note: some steps, to measure what the trial takes of a GPU; then it begins anew", flush=True)
    with pipe.meter.held():
        if assignment.task == "test" and not code.plain_ray:
            return {"event": "tested", "metrics": trial.tested(function(trial, **assignment.params))}
        with _clean_exit_returns(assignment):
            if code.plain_ray:
                from tuner.slot import ray_session

                ray_session.use_scratch()
                ray_session.call(function, trial)
            else:
                function(trial, **assignment.params)
        ranks.part()  # however the function came to its end: a rank that trains on would wait for this one
    return {"event": "returned"}


@contextlib.contextmanager
def _clean_exit_returns(assignment: Assignment) -> Iterator[None]:
    """Take sys.exit() in training for a return."""
    try:
        yield
    except SystemExit as stop:
        if stop.code not in (None, 0) or assignment.task != "train":
            raise


def _failure(reason: str, misuse: bool = False) -> Message:
    return {"event": "failed", "reason": _clean(reason), "error": _clean(traceback.format_exc()), "misuse": misuse}


def _first_line(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        lines = ["its text cannot be made"]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _clean(text: str) -> str:
    """Make a text that can be written as UTF-8, and not a long one."""
    text = text.encode("utf-8", "backslashreplace").decode()
    half = LONGEST // 2
    return (
        text if len(text) <= LONGEST else f"{text[:half]}\n[{len(text) - LONGEST} characters left out]\n{text[-half:]}"
    )


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user may have closed or replaced it
            stream.flush()
