"""Folders to and from a URL: the file that makes them whole goes last, both ways."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from tuner.storage.url import Objects


class NotWhole(FileNotFoundError):
    """A folder is not there, or its last file is not: whatever else is a FileNotFoundError may pass."""


def put_folder(objects: Objects, name: str, folder: Path, last: str) -> None:
    """Put all files of a folder, and last of all the one of this name; raises NotWhole where that is not here."""
    if not (folder / last).is_file():
        raise NotWhole(f"{folder}: is not there, or not whole")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {f"{name}/{path.relative_to(folder)}": path for path in paths}
    end = {f"{name}/{last}": files.pop(f"{name}/{last}")}
    if files:
        objects.put_files(files)
    objects.put_files(end)


def get_folder(objects: Objects, name: str, folder: Path, last: str) -> None:
    """Get all files of a folder, and last of all the one of this name; raises NotWhole where that is not."""
    names = list(objects.list(name))
    if f"{name}/{last}" not in names:
        raise NotWhole(f"{objects.url}/{name}: is not there, or not whole")
    names.remove(f"{name}/{last}")
    if strangers := [one for one in names if ".." in one.split("/")]:
        raise OSError(f"{objects.url}/{strangers[0]}: its name leads out of the folder")
    if names:
        objects.get_files({one: folder / one.removeprefix(f"{name}/") for one in names})
    objects.get_files({f"{name}/{last}": folder / last})


def put_changed(
    objects: Objects, below: str, folder: Path, known: dict[str, tuple[int, int]], skip: Collection[str]
) -> None:
    """Put the files of a folder that are new or have changed since `known`, which is brought up to date.

    `known` holds size and time by name. Hidden files, what is no regular file, and what lies in `skip` is left out; so
    is what others delete meanwhile.
    """
    found = {str(path.relative_to(folder)): facts for path, facts in _files(folder, skip)}
    changed = [name for name, facts in found.items() if known.get(name) != facts]
    while changed:
        try:
            objects.put_files({f"{below}{name}": folder / name for name in changed})
            break
        except FileNotFoundError:
            left = [name for name in changed if (folder / name).is_file()]
            if left == changed:  # it is the URL that is not there
                raise
            changed = left
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
                facts = path.stat()
                if stat.S_ISREG(facts.st_mode) and not name.startswith("."):
                    yield path, (facts.st_size, facts.st_mtime_ns)
