"""The log of a job, as it grows, on the user's own terminal."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from tuner.errors import ClusterError, Interrupted
from tuner.remote.jobs import OVER, Jobs, unreachable

FIRST_LINES = 20
"""So much of what was said before is shown to who joins later."""
RAYS_OWN = re.compile(r"^Running entrypoint for job |^\S+ \S+\s+INFO job_manager\.py:")
PATIENCE_SECONDS = 60.0
"""So long a dashboard may not answer: a tunnel is opened again, a head is busy."""


def follow(jobs: Jobs, job: str, write: Callable[[str], None], late: bool = False) -> int:
    """Write what a job says until it is over; returns its exit code. Raises ClusterError where it is seen no more."""
    told, answered, info = 0, time.monotonic(), None
    while info is None or str(info.status) not in OVER:
        try:
            if late:
                told, late = _begin(jobs.client.get_job_logs(job)), False
            told = asyncio.run(_tail(jobs, job, told, write))
            info, answered = jobs.info(job), time.monotonic()
        except Exception as error:  # requests', aiohttp's, Ray's own
            if time.monotonic() > answered + PATIENCE_SECONDS:
                raise error if isinstance(error, ClusterError) else unreachable(jobs.address, error) from None
            time.sleep(1)
    return _code(info)


async def _tail(jobs: Jobs, job: str, told: int, write: Callable[[str], None]) -> int:
    """Write what lies behind the first `told` characters; returns how many there are now."""
    seen = 0
    with contextlib.suppress(RuntimeError):  # the connection was cut: the next one begins anew
        async for text in jobs.client.tail_job_logs(job):
            seen += len(text)
            if seen > told:
                write(text[len(text) - (seen - told) :])
                told = seen
    return told


def _begin(log: str) -> int:
    """Find from where on somebody who joins late reads."""
    return len(log) - len("".join(log.splitlines(keepends=True)[-FIRST_LINES:]))


def _code(info: Any) -> int:
    """Read how a job ended: the driver's own code, which means the same as that of a run here."""
    code = 0 if str(info.status) == "SUCCEEDED" else info.driver_exit_code
    if str(info.status) == "STOPPED":
        return Interrupted.exit_code
    if code == Interrupted.exit_code:  # it was stopped there, in order
        return Interrupted.exit_code
    if code is None or not 0 <= code < 128:  # a signal, as the shell tells it
        raise ClusterError(f"the job's driver has died: {info.message or info.status} Go on with --resume.")
    return int(code)


def printer(json: bool, hidden: str = "\0") -> Callable[[str], None]:
    """Print a log: what Ray says of the job, and with `json` all but events, on stderr, as a run here does.

    Lines that begin with `hidden` are for the program alone.
    """
    rest = ""

    def write(text: str) -> None:
        nonlocal rest
        *lines, rest = (rest + text).split("\n")
        for line in (line for line in lines if not line.startswith(hidden)):
            aside = RAYS_OWN.search(line) or (json and not line.startswith("{"))
            with contextlib.suppress(BrokenPipeError):  # nobody reads any more; the job goes on
                print(line, file=sys.stderr if aside else sys.stdout, flush=True)

    return write
