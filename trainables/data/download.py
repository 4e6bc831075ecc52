"""Files of data sets: looked up in folders, else downloaded, and checked in both cases."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

TIMEOUT = 30.0
"""Seconds without a byte after which an address counts as not reachable."""


class DataError(ValueError):
    """A data set that is there, but cannot be used."""


class MissingDataError(FileNotFoundError):
    """A data set that is neither on this machine nor can be downloaded."""


def data_folder(folder: str | Path | None) -> Path:
    """Find the folder of downloads: the one given, else TUNER_DATA, else ./data."""
    return Path(folder or os.environ.get("TUNER_DATA") or "data").expanduser()


def download(addresses: Sequence[str], path: Path, sha256: str) -> list[str]:
    """Download to `path` from the first address that gives the right file; return what failed, or nothing."""
    failures = []
    for address in addresses:
        try:
            _fetch(address, path, sha256)
        except (OSError, HTTPException, DataError) as error:  # OSError: no network, HTTP status, full disk
            failures.append(f"{address}: {error}")
        else:
            return []
    return failures


def check(content: bytes, digest: str, name: str) -> bytes:
    """Return the content if its checksum (MD5 or SHA-256, by length) is right."""
    kind = "md5" if len(digest) == 32 else "sha256"
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found != digest:
        raise DataError(f"{name}: {kind} must be {digest}, but got {found}. Delete the file and get it again.")
    return content


def _fetch(address: str, path: Path, sha256: str) -> None:
    """Write to a file of our own and rename: others see the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            found = _copy(address, file)
        if found != sha256:
            raise DataError(f"checksum: sha256 must be {sha256}, but got {found}")
        os.chmod(draft, 0o644)  # mkstemp's files are for their owner alone
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _copy(address: str, file: BinaryIO) -> str:
    """Copy a response into a file; return the SHA-256 of what came."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        while block := response.read(1 << 20):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
