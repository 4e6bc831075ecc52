"""What can go wrong, and the exit code that each kind of it has."""

from __future__ import annotations

import errno
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in what the user gave."""

    where: str
    """`file:line` or the name of a flag."""
    path: str
    """The key's dotted path, such as `space.lr.low`; empty where there is none."""
    what: str
    """What must hold and what was got: `must be a number, but got 'x'`."""
    fix: str = ""

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.where, self.path, self.what) if part)
        return f"{text}. {self.fix}" if self.fix else f"{text}."


class TunerError(Exception):
    """The base of all errors that the command line shows without a traceback; `exit_code` is what it ends with."""

    exit_code = 1


class RunFailed(TunerError):
    """The run ended without a result: every trial failed, or three in a row by the same exception (exit 1)."""

    exit_code = 1


class UserError(TunerError):
    """The user's mistake: each of its `problems` stands on a line of its own (exit 2)."""

    exit_code = 2

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class Locked(UserError):
    """Another process is driving the run: nothing of it may be touched."""


class ClusterError(TunerError):
    """The cluster cannot be reached, or cannot place a trial; the run can be resumed (exit 3)."""

    exit_code = 3


class Interrupted(TunerError):
    """The user stopped the driver; the run can be resumed (exit 130)."""

    exit_code = 130


def remedy(error: Exception) -> str:
    """Say what helps where a file cannot be written."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Make room there."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Call it from a folder that may be written."
    if number == errno.ENAMETOOLONG:
        return "Give fewer runs at once."
    return "Mend that, and call it again."
