"""Folders to and from a URL: the file that makes them whole goes last, both ways."""

from __future__ import annotations

from collections.abc import Collection
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

    Those below a name of `skip`, or hidden ones, are left out.
    """
    changed, facts = {}, {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split("/")[0] in skip or path.name.startswith(".") or not path.is_file():
            continue
        stat = path.stat()
        if known.get(name) != (stat.st_size, stat.st_mtime_ns):
            changed[f"{below}{name}"], facts[name] = path, (stat.st_size, stat.st_mtime_ns)
    if changed:
        objects.put_files(changed)
    known.update(facts)
