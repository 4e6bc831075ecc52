"""Find the source file of a module without importing anything (finding `a.b` would import `a`)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from tuner.spec.words import did_you_mean


class BindError(Exception):
    """A function cannot be found or used: what must hold and what was got, and one fix."""

    def __init__(self, what: str, fix: str) -> None:
        self.what, self.fix = what, fix
        super().__init__(what)


@dataclass(frozen=True)
class Source:
    """A module's file, and the folder from which its name is importable."""

    module: str
    file: Path
    root: Path

    @property
    def package(self) -> str:
        """Name the package that relative imports start from."""
        return self.module if self.file.name == "__init__.py" else self.module.rpartition(".")[0]


def locate(module: str, folders: Sequence[Path]) -> Source:
    """Find a module in the folders, then on the path. Raises BindError."""
    parts = module.split(".")
    if parts[0] in sys.builtin_module_names:
        raise BindError(f"must name a module with Python source, but got {module}, which is built into Python",
                        "Name a module of your own.")  # fmt: skip
    compiled: Path | None = None
    for root in (*folders, *_path_folders()):
        found = _in_folder(root, parts)
        if found and found.suffix == ".py":
            return Source(module, found, root)
        compiled = compiled or found
    if found := _by_import_system(parts):
        if found.suffix == ".py":
            return Source(module, found, found.parents[len(parts) - (found.name != "__init__.py")])
        compiled = compiled or found
    if compiled:
        what = "a folder without __init__.py" if compiled.is_dir() else "which is compiled"
        raise BindError(f"must name a module with Python source, but got {module}, {what}", _source_fix(compiled))
    raise _not_found(module, parts, folders)


def _source_fix(compiled: Path) -> str:
    if compiled.is_dir():
        return f"Name a .py file in it, or add {compiled.name}/__init__.py."
    return "Call it from a function in a .py file of your own."


def _path_folders() -> Iterator[Path]:
    for entry in sys.path:
        if (folder := Path(entry or ".").absolute()).is_dir():
            yield folder


def _in_folder(root: Path, parts: Sequence[str]) -> Path | None:
    """Find the file of a module below a folder: source, else what is compiled, else a folder without `__init__.py`."""
    base = root.joinpath(*parts)
    candidates = [base / "__init__.py", base.with_name(f"{base.name}.py")]
    candidates += [base.with_name(base.name + suffix) for suffix in (*EXTENSION_SUFFIXES, ".pyc")]
    for file in candidates:
        if file.is_file():
            return file
    return base if base.is_dir() else None


def _by_import_system(parts: Sequence[str]) -> Path | None:
    """Ask Python for the top name alone, which imports nothing: editable installs and zip files are found so."""
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    for location in spec.submodule_search_locations or ():
        if len(parts) > 1 and (found := _in_folder(Path(location), parts[1:])):
            return found
    return Path(spec.origin) if spec.origin and len(parts) == 1 else None


def _not_found(module: str, parts: Sequence[str], folders: Sequence[Path]) -> BindError:
    """Say how far the path could be walked, and which neighbours there are."""
    for depth in range(len(parts) - 1, -1, -1):
        places = [folder.joinpath(*parts[:depth]) for folder in folders]
        if not (places := [place for place in places if place.is_dir()]):
            continue
        names = {".".join([*parts[:depth], name]): None for place in places for name in _modules(place)}
        known = ".".join(parts[: depth + 1])
        otherwise = f"Looked in {', '.join(dict.fromkeys(str(folder) for folder in folders))} and on Python's path."
        return BindError(f"must name a module that exists, but got {module}", did_you_mean(known, names, otherwise))
    raise AssertionError("one of the folders exists")


def _modules(folder: Path) -> list[str]:
    files = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    packages = [file.parent.name for file in folder.glob("*/__init__.py")]
    return sorted({*files, *packages} - {"setup", "conftest"})
