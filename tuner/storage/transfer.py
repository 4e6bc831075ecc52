"""Folders to and from a URL: the file that makes them whole goes last, both ways."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from tuner.storage.url import Objects


def put_folder(objects: Objects, name: str, folder: Path, last: str) -> None:
    """Put all files of a folder, and last of all the one of this name."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {f"{name}/{path.relative_to(folder)}": path for path in paths}
    end = {f"{name}/{last}": files.pop(f"{name}/{last}")}
    if files:
        objects.put_files(files)
    objects.put_files(end)


def get_folder(objects: Objects, name: str, folder: Path, last: str) -> None:
    """Get all files of a folder, and last of all the one of this name; raises FileNotFoundError where that is not."""
    names = list(objects.list(name))
    if f"{name}/{last}" not in names:
        raise FileNotFoundError(f"{objects.url}/{name}: is not there, or not whole")
    names.remove(f"{name}/{last}")
    if names:
        objects.get_files({one: folder / one.removeprefix(f"{name}/") for one in names})
    objects.get_files({f"{name}/{last}": folder / last})


def put_changed(
    objects: Objects, below: str, folder: Path, known: dict[str, tuple[int, int]], skip: Collection[str]
) -> None:
    """Put the files of a folder that are new or have changed since `known`, which is brought up to date.

    `known` holds size and time by name. Hidden files and what lies in `skip` is left out.
    """
    found = {str(path.relative_to(folder)): facts for path, facts in _files(folder, skip)}
    changed = [name for name, facts in found.items() if known.get(name) != facts]
    if changed:
        objects.put_files({f"{below}{name}": folder / name for name in changed})
    known.update(found)


def _files(folder: Path, skip: Collection[str]) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Walk over the files of a folder, with size and time; others may delete some meanwhile."""
    for top, folders, names in os.walk(folder):
        if Path(top) == folder:
            folders[:] = [name for name in folders if name not in skip]
            names = [name for name in names if name not in skip]
        for name in sorted(names):
            path = Path(top) / name
            with suppress(FileNotFoundError):
                stat = path.stat()
                if not name.startswith("."):
                    yield path, (stat.st_size, stat.st_mtime_ns)
