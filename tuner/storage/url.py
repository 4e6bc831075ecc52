"""Objects below a URL that fsspec opens: put whole, read whole, listed, deleted. There is no append and no rename."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations

from tuner.errors import UserError

S3 = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1, "mode": "standard"}}}
"""Whoever calls tries again: what the libraries do themselves, each for the other's sake, took minutes."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {"file": {"auto_mkdir": True}, "s3": S3, "s3a": S3}
"""What a protocol needs so that objects may be put under any name, and a server that is silent is given up."""
TRIES = 2
"""So often s3fs tries again what it takes for a passing failure."""


class Objects:
    """The objects below a URL, by their names relative to it. Every error is an OSError."""

    def __init__(self, url: str) -> None:
        """Open the URL, which asks nothing of its server yet; raises UserError where fsspec cannot."""
        self.url = url.rstrip("/")
        self._files, self._root = _open(self.url)
        self._is_local = isinstance(self._files, LocalFileSystem)

    def put(self, name: str, data: bytes) -> None:
        """Put an object in the place of any that is there."""
        with self._errors(name):
            self._write(name, data, "overwrite")

    def create(self, name: str, data: bytes) -> bool:
        """Put an object where there is none; False where there is another.

        Only one of several that try at once succeeds where the server knows conditional writes (S3, GCS).
        """
        try:
            with self._errors(name):
                self._write(name, data, "create")
            return True
        except OSError:
            # Refused since it is there, in the words of each server; or the answer to an earlier try got lost.
            with suppress(FileNotFoundError):
                return self.get(name) == data
            raise

    def get(self, name: str) -> bytes:
        """Read an object; raises FileNotFoundError."""
        with self._errors(name):
            return bytes(self._files.cat_file(self._at(name)))

    def get_all(self, names: Sequence[str]) -> list[bytes]:
        """Read several objects, at once where the server is far; raises FileNotFoundError."""
        with self._errors("".join(names[:1])):
            read = self._files.cat([self._at(name) for name in names]) if names else {}
            return [bytes(read[self._at(name)]) for name in names]

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Put files under these names, several at once."""
        with self._errors(next(iter(files), "")):
            self._files.put([str(path) for path in files.values()], [self._at(name) for name in files])

    def get_files(self, files: Mapping[str, Path]) -> None:
        """Read objects into files, several at once; raises FileNotFoundError."""
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors(next(iter(files), "")):
            self._files.get([self._at(name) for name in files], [str(path) for path in files.values()])

    def list(self, below: str) -> dict[str, int]:
        """List the objects below a name, in order, each with its size in bytes."""
        top = self._at(below).rstrip("/")
        with self._errors(below):
            try:
                found = self._files.find(top, detail=True)
            except FileNotFoundError:
                return {}
            # Where nothing is below it, what some servers keep for an empty folder may be found itself.
            inside = {path: facts for path, facts in found.items() if path.startswith(f"{top}/")}
            return {self._name(path): int(facts["size"]) for path, facts in sorted(inside.items())}

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is not there is fine."""
        with self._errors("".join(names[:1])):
            try:
                if names:
                    self._files.rm([self._at(name) for name in names])
            except FileNotFoundError:
                for name in names:
                    with suppress(FileNotFoundError):
                        self._files.rm_file(self._at(name))

    def modified(self, name: str) -> float:
        """Tell when an object was put, in seconds by the server's clock; raises FileNotFoundError."""
        with self._errors(name):
            return float(self._files.modified(self._at(name)).timestamp())

    def _write(self, name: str, data: bytes, mode: Literal["create", "overwrite"]) -> None:
        """Write an object whole or not at all: a folder would keep half of it where the disk is full.

        What is being written lies beside the folders that are listed, where `write_whole` would leave it among them.
        """
        if not self._is_local:
            self._files.pipe_file(self._at(name), data, mode=mode)
            return
        place, made = Path(self._at(name)), Path(self._root) / f"put-{uuid.uuid4().hex}"
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.write_bytes(data)
            if mode == "create":
                os.link(made, place)
            else:
                made.replace(place)
        finally:
            made.unlink(missing_ok=True)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self._root}/")

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Turn what the libraries raise into OSErrors, as all who write to a disk expect them."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{self.url}/{name}: {_first_line(error)}") from error


def probe(url: str) -> None:
    """Put, read and delete an object below a URL; raises UserError that says what is missing."""
    objects, name = Objects(url), f"probe-{uuid.uuid4().hex}"
    try:
        objects.put(name, b"probe")
        if objects.get(name) != b"probe":
            raise OSError("what was put cannot be read back")
        objects.delete([name])
    except OSError as error:
        raise unusable(url, error) from None


def unusable(url: str, error: OSError) -> UserError:
    """Make the error of a URL that cannot be written."""
    if isinstance(error, PermissionError) or "credentials" in str(error).lower():
        fix = "Give this machine, and each node, credentials that may write there."
    elif isinstance(error, FileNotFoundError) or "bucket" in str(error).lower():
        fix = "Make the bucket first, and check its name."
    else:
        fix = "Check the address, the network and the credentials."
    return UserError(f"storage: must be a URL that can be written, but {url} cannot: {_first_line(error)}. {fix}")


def _open(url: str) -> tuple[Any, str]:
    protocol = url.partition("://")[0]
    try:
        files, root = url_to_fs(url, use_listings_cache=False, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        own = "Run `pip install -c constraints.txt -e '.[s3]'` in tuner's folder"
        fix = own if protocol in ("s3", "s3a") else "Install that package"
        raise UserError(
            f"storage: must be a URL whose package is installed, but got {url} ({_first_line(error)}). "
            f"{fix}, on each node."
        ) from None
    except ValueError as error:
        if protocol not in known_implementations:
            fix = "Give s3://BUCKET/runs or gs://BUCKET/runs, say, or a folder."
        else:
            fix = f"See fsspec {fsspec.__version__} on how its URLs are written."
        raise UserError(
            f"storage: must be a URL that fsspec opens, but got {url} ({_first_line(error)}). {fix}"
        ) from None
    if protocol in ("s3", "s3a"):
        files.retries = TRIES  # it is no option
    return files, str(root).rstrip("/")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
