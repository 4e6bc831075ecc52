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
    told, answered, last = 0, time.monotonic(), ""

    def tell(text: str) -> None:
        nonlocal last
        last = text
        write(text)

    while True:
        try:
            if late:
                told, late = _begin(jobs.client.get_job_logs(job)), False
            told, is_all = asyncio.run(_tail(jobs, job, told, tell))
            info = jobs.info(job)
        except Exception as error:  # requests', aiohttp's, Ray's own
            if time.monotonic() > answered + PATIENCE_SECONDS:
                raise error if isinstance(error, ClusterError) else unreachable(jobs.address, error) from None
            time.sleep(1)
            continue
        is_over = str(info.status) in OVER
        if is_over and (is_all or time.monotonic() > answered + PATIENCE_SECONDS):
            break
        if is_all or not is_over:
            answered = time.monotonic()
        if not is_all:
            time.sleep(1)
    if last and not last.endswith("\n"):
        write("\n")
    return _code(info)


async def _tail(jobs: Jobs, job: str, told: int, write: Callable[[str], None]) -> tuple[int, bool]:
    """Write what lies behind the first `told` characters; returns how many there are now, and whether these are all."""
    seen = 0
    try:
        async for text in jobs.client.tail_job_logs(job):
            seen += len(text)
            if seen > told:
                write(text[len(text) - (seen - told) :])
                told = seen
    except RuntimeError:  # the connection was cut: the next one begins anew
        return told, False
    return told, True


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
