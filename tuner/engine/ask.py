"""Ask for the stop of a run or a trial from outside its driver."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tuner.core.records import Asked
from tuner.core.state import RunState, replay
from tuner.engine import wishes
from tuner.errors import Locked
from tuner.ledger import Ledger, read

PATIENCE_SECONDS = 20.0


def stop(folder: Path, trial: str | None, refuse: Callable[[RunState], None] = lambda run: None) -> str:
    """Stop it: through its driver, or where there is none by a record of our own; says what came of it.

    `refuse` raises where it has a driver, but not in this folder.
    """
    try:
        with Ledger(folder) as ledger:
            refuse(replay(ledger.records[:1]))
            return _stop_at_rest(ledger, trial)
    except Locked:
        wishes.ask(folder, trial)
        return _wait(folder, trial)


def _stop_at_rest(ledger: Ledger, trial: str | None) -> str:
    run = replay(ledger.records)
    if (already := _ended(run, trial)) is not None:
        return already
    ledger.append(Asked(trial=trial))
    return f"{_name(trial)} is stopped; nothing was running"


def _wait(folder: Path, trial: str | None) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if (ended := _ended(replay(read(folder)), trial)) is not None:
            return ended
        time.sleep(0.2)
    return f"{_name(trial)} is asked to stop; its driver has not answered yet"


def _ended(run: RunState, trial: str | None) -> str | None:
    if trial is None:
        return f"the run has ended: {run.closed or 'finished'}" if run.finished() else None
    state = run.find(trial)
    return f"{trial} has ended: {state.outcome}, {state.reason}" if state.status == "ended" else None


def _name(trial: str | None) -> str:
    return "the run" if trial is None else trial
