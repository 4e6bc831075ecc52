"""Where runs lie, and what they and their trials are called."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from tuner.core.state import replay
from tuner.errors import Problem, UserError
from tuner.ledger import read

RUNS = Path(os.environ.get("TUNER_RUNS", "runs")).expanduser()


def find_run(run: str | Path) -> Path:
    """Find a run's folder: a path, or a name under `runs/`."""
    if (folder := _folder(run)) is not None:
        return folder
    known = sorted(path.parent.name for path in RUNS.glob("*/ledger"))
    fix = f"There is {', '.join(known[-5:])}." if known else "There is none yet."
    raise UserError(Problem(str(run), "", "must be a run's folder, or its name under runs/, but is not", fix))


def _folder(run: str | Path) -> Path | None:
    return next((folder for folder in (Path(run), RUNS / run) if (folder / "ledger").exists()), None)


def find_trial(text: str) -> tuple[Path, str | None]:
    """Read `RUN/TRIAL`, or a RUN alone; raises UserError where there is no such run or trial."""
    path = Path(text)
    if _folder(path) is not None or len(path.parts) == 1:
        return find_run(text), None
    folder, trial = find_run(path.parent), path.name
    if trial not in (known := replay(read(folder)).trials):
        fix = f"It has {', '.join(list(known)[:5])} …" if known else "It has none yet."
        raise UserError(Problem(text, "", f"must end in a trial of {folder}, but got {trial}", fix))
    return folder, trial


def check_name(name: str) -> str:
    """Refuse a name that is no plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        what = f"must be letters, digits, dots, dashes and underscores, but got {name!r}"
        raise UserError(Problem("--name", "", what, "The folder is made under runs/, or under `storage` of the YAML."))
    return name


def default_name(file: Path) -> str:
    """Name a run by its YAML and the time."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", file.stem).lstrip(".-_") or "run"
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
