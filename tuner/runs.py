"""Where runs lie, and what they and their trials are called."""

from __future__ import annotations

import atexit
import errno
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from tuner.core.state import RunState, replay
from tuner.errors import ClusterError, Problem, UserError
from tuner.ledger import NAME, read, unreadable
from tuner.storage import delete_folder, is_url, write_whole
from tuner.storage.machine import mark, scratch

if TYPE_CHECKING:
    from tuner.storage.lease import Holder

RUNS = Path(os.environ.get("TUNER_RUNS", "runs")).expanduser()
FETCHED = "run-"
"""So go on the names of this process's folders for ledgers that are only read."""
KILLED = "its driver was killed before it made the run"
WHERE_STOPPED = "must be given on the machine and in the folder of the run's driver, where its ledger lies"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is driven, and where it is copied to."""

    folder: Path
    url: str = ""
    """Empty where it is stored in the folder."""


def store(storage: str | None) -> Path | str:
    """Tell below what runs lie: a folder, or a URL."""
    return storage if storage and is_url(storage) else Path(storage or RUNS).resolve()


def place(storage: str | None, name: str) -> Place:
    """Tell where a run of this name belongs."""
    if storage and is_url(storage):
        return Place(RUNS / name, f"{storage.rstrip('/')}/{name}")
    return Place(Path(storage or RUNS) / name)


def refuse_taken(folder: Path) -> None:
    """Raise UserError where a run of this name is there, or its folder is."""
    if folder.exists():
        more = ""
        if (folder / NAME).exists():
            else_do = f"go on with --resume {quote(str(folder))}" if _was_made(folder) else f"delete it if {KILLED}"
            more = f", or {else_do}"
        fix = f"Choose another name{more}."
        raise UserError(Problem("--name", "", f"must be a new name, but {folder} exists", fix))


def find_place(run: str | Path) -> Place:
    """Find a run that is to be gone on with: a path, a name under `runs/`, or a URL, which may have no folder here."""
    if is_url(run):
        url = str(run).rstrip("/")
        return Place(RUNS / url.rpartition("/")[2], url)
    folder = find_run(run)
    state = replay(read(folder)[:1])
    known = place(state.spec.storage, state.name)
    return Place(folder, known.url)


def find_run(run: str | Path) -> Path:
    """Find a run's folder, for reading: a path, a name under `runs/`, or a URL, whose ledger is fetched."""
    if is_url(run):
        if (fetched := _fetched(str(run).rstrip("/"))) is not None:
            return fetched
        raise UserError(Problem(str(run), "", "must be the URL of a run, but there is no ledger", "Check its name."))
    if (folder := _folder(run)) is not None:
        if not _was_made(folder):
            what = "must be a run's folder, but the run is not made yet"
            raise UserError(Problem(str(run), "", what, f"Delete {folder}, if {KILLED}."))
        return folder
    known = sorted(path.parent.name for path in RUNS.glob("*/ledger"))
    fix = f"There is {', '.join(known[-5:])}." if known else "There is none yet."
    raise UserError(Problem(str(run), "", "must be a run's folder, or its name under runs/, but is not", fix))


def _was_made(folder: Path) -> bool:
    """Tell whether a folder holds a run: the first line of its ledger was written whole."""
    try:
        with (folder / NAME).open("rb") as ledger:
            return ledger.readline().endswith(b"\n")
    except OSError as error:
        raise UserError(unreadable(folder, error)) from None


def _folder(run: str | Path) -> Path | None:
    for folder in (Path(run), RUNS / run):
        try:
            if (folder / "ledger").exists():
                return folder
        except PermissionError as error:
            raise UserError(unreadable(folder, error)) from None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # nothing has such a name
                raise
    return None


def _fetched(url: str) -> Path | None:
    """Fetch the ledger of a run into a folder that is gone with this process, unless there is a newer one here."""
    from tuner.storage.segments import Segments
    from tuner.storage.url import Objects

    name = url.rpartition("/")[2]
    try:
        data = Segments(Objects(url)).read()
    except OSError as error:
        raise ClusterError(f"{url}: cannot be read: {error}. Check the address, and the credentials.") from error
    here = RUNS / name / NAME
    if not data or (here.exists() and here.read_bytes().startswith(data)):
        return RUNS / name if data else None
    made = scratch(FETCHED)
    atexit.register(delete_folder, made)
    write_whole(made / name / NAME, data, sync=False)
    return made / name


def is_fetched(folder: Path) -> bool:
    """Tell whether a folder holds but a copy of a run's ledger, for reading."""
    return folder.parent.name.startswith(f"{mark(os.getpid())}-{FETCHED}")


def find_stopped(run: str) -> tuple[Path, str | None]:
    """Find a run, or a trial, that is to be stopped; raises UserError for a URL, which the driver does not look at."""
    folder, trial = find_trial(run)
    if is_fetched(folder):
        url = run.rstrip("/")
        if (holder := _holder(url if trial is None else url.rpartition("/")[0])) is None:
            what = f"{WHERE_STOPPED}, but got a URL, and nobody drives this run"
            raise UserError(Problem("--stop", "", what, "There is nothing to stop."))
        raise _elsewhere("a URL", holder)
    return folder, trial


def refuse_left(run: RunState) -> None:
    """Raise UserError where a run, which no driver of its folder here drives, is driven in another one by its URL."""
    url = place(run.spec.storage, run.name).url
    if url and (holder := _holder(url, living=True)) is not None:
        raise _elsewhere("one in which it is driven no more", holder)


def _holder(url: str, living: bool = False) -> Holder | None:
    """Tell who drives the run at a URL, if need be only one that may be alive; raises ClusterError where it fails."""
    from tuner.storage.lease import Lease
    from tuner.storage.url import Objects

    try:
        lease = Lease(Objects(url))
        return lease.living_holder() if living else lease.holder()
    except OSError as error:
        raise ClusterError(f"{url}: cannot be read: {error}. Check the address, and the credentials.") from error


def _elsewhere(got: str, holder: Holder) -> UserError:
    fix = f"Give it on {holder.host}, in the folder of process {holder.pid}, the last one that drove this run."
    return UserError(Problem("--stop", "", f"{WHERE_STOPPED}, but got {got}", fix))


def find_trial(text: str) -> tuple[Path, str | None]:
    """Read `RUN/TRIAL`, or a RUN alone; raises UserError where there is no such run or trial."""
    if is_url(text):
        if (fetched := _fetched(text.rstrip("/"))) is not None:
            return fetched, None
        run, _, trial = text.rstrip("/").rpartition("/")
        folder = find_run(run)
    else:
        path = Path(text)
        if _folder(path) is not None or len(path.parts) == 1:
            return find_run(text), None
        folder, trial = find_run(path.parent), path.name
    if not (state := replay(read(folder))).knows(trial):
        known = state.trials
        fix = f"It has {', '.join(list(known)[:5])} …" if known else "It has none yet."
        raise UserError(Problem(text, "", f"must end in a trial of {folder}, but got {trial}", fix))
    return folder, trial


def check_name(name: str) -> str:
    """Refuse a name that is no plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        what = f"must be at most 100 letters, digits, dots, dashes and underscores, but got {name!r}"
        raise UserError(Problem("--name", "", what, "The folder is made under runs/, or under `storage` of the YAML."))
    return name


def new_name(name: str | None, file: Path) -> str:
    """Check the name of a new run, or name it by its YAML and the time."""
    if name:
        return check_name(name)
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", file.stem).lstrip(".-_") or "run"
    return f"{stem[:80]}-{time.strftime('%Y%m%d-%H%M%S')}"
