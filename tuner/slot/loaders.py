"""A worker of a DataLoader that was killed: torch says so in an exception of the trial's, or would have said so."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

KILLED = "is killed by signal: Killed"
"""Part of what torch's handler of SIGCHLD raises, wherever the main thread is by then."""
ASKS, ASK_SECONDS = 10, 0.05
"""So often torch is asked: a connection breaks a moment before its process has ended."""


def silence() -> None:
    """Have no end of a process raise anything any more; what has come before is raised."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    finally:  # where it raised it has changed nothing
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def worker_was_killed(error: BaseException) -> bool:
    """Tell whether an error came of a DataLoader's worker that was killed by SIGKILL."""
    errors = list(_with_causes(error))
    if any(KILLED in _text(one) or _found_dead(one) for one in errors):
        return True
    breaks = any(isinstance(one, ConnectionError | EOFError) for one in errors)
    return breaks and KILLED in _not_yet_said()


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, RuntimeError) else ""


def _found_dead(error: BaseException) -> bool:
    """Look at the workers that the loader itself found dead, before the handler could say how they ended."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name == "_try_get_data":
            workers = traceback.tb_frame.f_locals.get("failed_workers", ())
            return any(getattr(worker, "exitcode", None) == -signal.SIGKILL for worker in workers)
        traceback = traceback.tb_next
    return False


def _not_yet_said() -> str:
    """Ask torch for the end of a worker that nobody has heard of, as its handler does."""
    handling = sys.modules.get("torch.utils.data._utils.signal_handling")
    ask = getattr(handling, "_error_if_any_worker_fails", None)
    if ask is None:
        return ""
    for _ in range(ASKS):
        try:
            ask()
        except RuntimeError as error:
            return str(error)
        time.sleep(ASK_SECONDS)
    return ""
