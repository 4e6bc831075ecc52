"""What travels from this machine to the others: one folder, without what is large or can be made again."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from tuner.errors import UserError
from tuner.spec.load import Loaded

EXCLUDED = (
    "/runs/", ".git/", ".venv*/", "venv/", "__pycache__/", ".*_cache/", "node_modules/", "*.egg-info/", "session_20*/",
)  # fmt: skip
MOST_OF_A_FILE = 20 * 2**20
MOST_FILES = 10_000
MOST_IN_ALL = 100 * 2**20
"""Bytes. Ray keeps what it ships in the memory of its head."""
HOME = Path(__file__).resolve().parents[1]


def folder(loaded: Loaded) -> Path | None:
    """Find the folder that holds the YAML and the function; None where both came with the installed package.

    Raises UserError where they are apart, or too large.
    """
    parts = [loaded.file.parent, loaded.trainable.root]
    parts = [part.resolve() for part in parts if part.exists()]
    places = [Path.cwd().resolve(), parts[0], *([HOME] if (HOME / "launch.py").exists() else [])]
    found = next((place for place in places if all(part.is_relative_to(place) for part in parts)), None)
    if found is None and all(part.is_relative_to(HOME) for part in parts):
        return None
    if found is None:
        raise UserError(
            f"{loaded.file}: the file and its trainable (in {loaded.trainable.root}) must lie in one folder, which "
            "travels to the cluster. Put them together, or begin in a folder above both."
        )
    refuse_large(found)
    return found


def refuse_large(place: Path) -> None:
    """Raise UserError where too much would travel, naming what is large."""
    sizes = sorted(((file.stat().st_size, file) for file in _files(place)), reverse=True)
    total = sum(size for size, _ in sizes)
    if sizes and (sizes[0][0] > MOST_OF_A_FILE or total > MOST_IN_ALL):
        largest = ", ".join(f"{file.relative_to(place)} ({size / 2**20:.0f} MiB)" for size, file in sizes[:3])
        raise UserError(
            f"{place}: what travels to the cluster must be at most {MOST_IN_ALL >> 20} MiB, and a file "
            f"{MOST_OF_A_FILE >> 20} MiB, but got {total / 2**20:.0f} MiB: {largest}. Name what is not needed in "
            ".gitignore or .rayignore there, and put data where every machine finds it."
        )


def environment(place: Path | None) -> dict[str, object]:
    """Tell Ray what to ship."""
    return {} if place is None else {"working_dir": str(place), "excludes": list(EXCLUDED)}


def _files(place: Path) -> list[Path]:
    """List what Ray would ship."""
    from ray._private.runtime_env import packaging

    found: list[Path] = []

    def take(path: Path) -> None:
        if path.is_file():
            found.append(path)
        if len(found) > MOST_FILES:
            raise UserError(
                f"{place}: must be a folder of a project, which travels to the cluster, but holds more than "
                f"{MOST_FILES} files. Begin in a smaller one, or name in .rayignore what is not needed."
            )

    silent = logging.Logger("ship", logging.CRITICAL)  # what Ray says here, it says again when it ships
    gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"
    excludes = [packaging._get_excludes(place, list(EXCLUDED))]
    packaging._dir_travel(place, excludes, take, include_gitignore=gitignore, logger=silent)
    return found
