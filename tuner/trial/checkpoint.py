"""A checkpoint: a folder with one file for each tracked object, and a manifest that is written last.

With torch imported the files are `NAME.pt`, read with `weights_only=True`; without it they are `NAME.json`, so that
a function that needs no torch does not pay for it. The manifest holds size and CRC-32 of every file: a checkpoint
torn by a crash is recognized when it is read, so writing it needs no sync.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import IO, Any

from tuner.errors import UserError
from tuner.spelled import spelled
from tuner.storage import delete_folder, is_full, write_whole
from tuner.trial.channel import Channel

MANIFEST = "manifest.json"
CARRIED = "files"
ARRAY = "numpy"
"""Key under which the JSON of an array has its type."""
VERSION = 1
"""Of the manifest's form. Nothing reads it yet: it is there so that a later form can be told from this one."""


class Invalid(Exception):
    """The folder holds no whole checkpoint."""


def save(
    folder: Path, states: Mapping[str, Any], carried: Path | None = None, *, check: bool = False, **facts: Any
) -> None:
    """Write the states, a copy of a carried folder, and last the manifest with these facts (JSON).

    With `check` each state is read once, so that what cannot be read again is found now and not by a resume.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, state in states.items():
        path = folder / (f"{name}.pt" if "torch" in sys.modules else f"{name}.json")
        with path.open("wb") as file:
            summed = _Summed(file)
            _write(state, summed, name)
        files[path.name] = {"size": summed.size, "crc32": summed.crc}
        if check:
            load(folder, name, mmap=True)
    if carried is not None:
        _copy(carried, folder / CARRIED)
        copied = (path for path in (folder / CARRIED).rglob("*") if path.is_file())
        files.update({str(path.relative_to(folder)): file_facts(path) for path in copied})
    text = json.dumps({"version": VERSION, "files": files, **spelled(facts)}, indent=1)
    write_whole(folder / MANIFEST, text, sync=False)


def _copy(source: Path, folder: Path) -> None:
    """Copy a folder file by file: copytree gathers errors as texts, and a full disk would not be known any more."""
    for root, _, names in os.walk(source, followlinks=True):
        to = folder / Path(root).relative_to(source)
        to.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy2(Path(root) / name, to / name)


def save_patiently(channel: Channel, folder: Path, *args: Any, **kwargs: Any) -> float:
    """Save a checkpoint; where there is no room tell the channel, which answers when it may be tried again.

    Returns the seconds that it waited.
    """
    waited = 0.0
    while True:
        try:
            save(folder, *args, **kwargs)
            return waited
        except OSError as error:
            if not is_full(error):
                raise
            delete_folder(folder)
            began = time.monotonic()
            channel.full(f"{folder}: {error}")
            waited += time.monotonic() - began


def read_manifest(folder: Path, sums: bool = True) -> dict[str, Any]:
    """Read the manifest and hold every file against it, without `sums` by its size alone; raises Invalid."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        for name, facts in manifest["files"].items():
            if not inside(name):
                raise Invalid(f"{folder}: must hold all its files itself, but its manifest names {name}")
            here = file_facts(folder / name) if sums else {**facts, "size": (folder / name).stat().st_size}
            if here != facts:
                raise Invalid(f"{folder / name}: size or checksum does not fit the manifest")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"{folder}: must hold a whole checkpoint, but got {type(error).__name__}: {error}") from None
    return manifest


def inside(name: str) -> bool:
    """Tell whether a name in a manifest, which may be a stranger's, leads nowhere but into the manifest's folder."""
    return not (path := PurePath(name)).is_absolute() and ".." not in path.parts


def is_whole(folder: Path, sums: bool = True) -> bool:
    """Tell whether a folder holds a whole checkpoint; without `sums` what is in its files is not looked at."""
    try:
        read_manifest(folder, sums)
    except Invalid:
        return False
    return True


def load(folder: Path, name: str, *, mmap: bool = False) -> Any:
    """Read one state; None where the checkpoint has none of this name. With `mmap` tensors stay on disk."""
    paths = (folder / f"{name}.json", folder / f"{name}.pt")
    path = next((path for path in paths if path.exists()), None)
    return None if path is None else load_file(path, name, mmap=mmap)


def load_file(path: Path, name: str, *, mmap: bool = False) -> Any:
    """Read the state of an object of this name from a file."""
    if path.suffix == ".json":
        return json.loads(path.read_text(), object_hook=_array_from_json)
    import torch

    try:
        return torch.load(path, weights_only=True, map_location="cpu", mmap=mmap)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: must hold tensors, numbers, strings and containers of these alone, but got something else. "
            f"Keep other objects out of the state_dict of {name!r}. ({str(error).splitlines()[0]})"
        ) from None


def file_facts(path: Path) -> dict[str, int]:
    """Measure a file: its size in bytes and its CRC-32."""
    crc = size = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return {"size": size, "crc32": crc}


class _Summed:
    """A file that keeps its size and checksum while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.size, self.crc = file, 0, 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.crc = zlib.crc32(data, self.crc)
        self.size += len(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _write(state: Any, file: _Summed, name: str) -> None:
    if "torch" in sys.modules:
        _write_torch(state, file, name)
    else:
        _write_json(state, file, name)


def _write_torch(state: Any, file: _Summed, name: str) -> None:
    import torch

    try:
        torch.save(state, file)  # type: ignore[arg-type]
    except RuntimeError:
        if file.error is not None:  # torch's own says nothing of it
            raise file.error from None
        raise
    except (pickle.PicklingError, TypeError, AttributeError) as error:  # what pickle raises hangs on the object
        raise UserError(
            f"the state_dict of {name!r} must hold tensors, numbers, strings and containers of these, but got {error}. "
            f"Keep other objects out of it."
        ) from None


def _write_json(state: Any, file: _Summed, name: str) -> None:
    try:
        _refuse_other_keys(state)
        file.write(json.dumps(state, default=_array_to_json).encode())
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the state_dict of {name!r} must hold numbers, strings, lists, dicts and numpy arrays where torch is "
            f"not imported, but got {error}. Import torch in the trainable to save tensors."
        ) from None


def _array_to_json(value: Any) -> dict[str, Any]:
    """Spell an array of numpy's, or one of its numbers, bit for bit."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray | numpy.generic) or value.dtype.kind not in "biufc":
        raise TypeError(f"a {type(value).__name__}")
    data = base64.b64encode(value.tobytes()).decode()
    return {ARRAY: value.dtype.str, "shape": value.shape, "data": data}


def _array_from_json(value: dict[str, Any]) -> Any:
    """Read back what was spelled."""
    if value.keys() != {ARRAY, "shape", "data"}:
        return value
    import numpy

    flat = numpy.frombuffer(base64.b64decode(value["data"]), numpy.dtype(value[ARRAY]))
    return flat.reshape(value["shape"]).copy()[()]  # a copy: else it could not be written to


def _refuse_other_keys(value: Any) -> None:
    """Raise TypeError for a key that is no text: JSON would make it one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r}, which is no string")
            _refuse_other_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_other_keys(inner)
