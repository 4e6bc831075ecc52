"""One trial's process: run the user's function in the main thread, and say how it ended."""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing import util
from multiprocessing.connection import Connection
from typing import Any

from tuner.errors import UserError
from tuner.slot.code import Code
from tuner.trial import Assignment, Trial, randomness
from tuner.trial.trial import Tested, as_numbers

Message = dict[str, Any]
"""What a child sends: `event` is report, returned, tested or failed; the rest depends on it."""


class Pipe:
    """Sends reports to the slot, and waits for the word to go on."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, seconds: float, memory: int) -> None:
        """Send one report; a process that may not go on is killed while it waits here."""
        sys.stdout.flush()
        self.connection.send(
            {
                "event": "report",
                "epoch": epoch,
                "metrics": metrics,
                "checkpoint": checkpoint,
                "seconds": seconds,
                "memory": memory,
            }
        )
        self.connection.recv()


def run(code: Code, assignment: Assignment, connection: Connection) -> int:
    """Run the function and send its end; returns the process's exit code."""
    try:
        message, status = _call(code, assignment, Pipe(connection)), 0
    except Tested as done:
        message, status = {"event": "tested", "metrics": done.metrics}, 0
    except SystemExit as stop:
        if stop.code in (None, 0):
            message, status = {"event": "returned"}, 0
        else:
            message, status = _failure(f"sys.exit({stop.code!r})"), 1
    except BaseException as error:
        message, status = _failure(_first_line(error), user=isinstance(error, UserError)), 1
    if message["event"] == "failed":
        print(message["error"], file=sys.stderr)
    connection.send(message)
    return status


def leave(status: int) -> None:
    """End the process as a script would, but without taking the interpreter apart."""
    util._exit_function()  # type: ignore[attr-defined]  # joins the processes that the user started
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _call(code: Code, assignment: Assignment, pipe: Pipe) -> Message:
    function: Callable[..., Any] = code.load()
    randomness.seed_all(assignment.seed)
    trial = Trial(assignment, pipe)
    if code.plain_ray:
        from tuner.slot import ray_session

        ray_session.call(function, trial)
    else:
        measured = function(trial, **assignment.params)
        if assignment.task == "test":
            return {"event": "tested", "metrics": as_numbers(measured or {})}
    return {"event": "returned"}


def _failure(reason: str, user: bool = False) -> Message:
    text = traceback.format_exc()
    return {"event": "failed", "reason": reason, "error": text, "misuse": user}


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
