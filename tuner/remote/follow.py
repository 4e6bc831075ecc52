"""The log of a job, as it grows, on the user's own terminal."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Callable

from tuner.errors import ClusterError
from tuner.remote.jobs import OVER, Jobs, unreachable

FIRST_LINES = 20
"""So much of what was said before is shown to who joins later."""
RAYS_OWN = re.compile(r"^Running entrypoint for job |^\S+ \S+\s+INFO job_manager\.py:")
PATIENCE_SECONDS = 60.0
"""So long a dashboard may not answer: a tunnel is opened again, a head is busy."""


def follow(jobs: Jobs, job: str, write: Callable[[str], None], late: bool = False) -> int:
    """Write what a job says until it is over; returns its exit code. Raises ClusterError where it is seen no more."""
    told, answered = 0, time.monotonic()
    while True:
        try:
            log = jobs.client.get_job_logs(job)
            told = _begin(log) if late else told
            late = False
            told = asyncio.run(_tail(jobs, job, told, write))
            info = jobs.info(job)
            answered = time.monotonic()
            if str(info.status) in OVER:
                return _code(info)
        except Exception as error:  # requests', aiohttp's, Ray's own
            if time.monotonic() > answered + PATIENCE_SECONDS:
                raise unreachable(jobs.address, error) from None
        time.sleep(1)


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


def _code(info: object) -> int:
    """Read how a job ended: the driver's own code, which means the same as that of a run here."""
    code, status = getattr(info, "driver_exit_code", None), str(getattr(info, "status", ""))
    if code is None and status == "SUCCEEDED":
        return 0
    if code is None or code < 0:
        if status == "STOPPED":
            return 130
        raise ClusterError(f"the job ended without an exit code: {getattr(info, 'message', '') or status}")
    return int(code)


def printer(json: bool) -> Callable[[str], None]:
    """Print a log: what Ray says of the job, and with `json` all but events, on stderr, as a run here does."""
    rest = ""

    def write(text: str) -> None:
        nonlocal rest
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            aside = RAYS_OWN.search(line) or (json and not line.startswith("{"))
            with contextlib.suppress(BrokenPipeError):  # nobody reads any more; the job goes on
                print(line, file=sys.stderr if aside else sys.stdout, flush=True)

    return write
