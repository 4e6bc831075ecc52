"""Other people's services, as the tests need them: a real MLflow server, and a reader of W&B's files."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support import free_ports, wait_for

BLOCK, HEADER = 32768, 7
"""Of LevelDB's log format, in which W&B writes."""


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Start MLflow's own server on loopback; mlflow-skinny brings it, but not what it needs to serve."""
    for module in ("flask", "flask_cors", "graphene"):
        pytest.importorskip(module, reason="the extra `test` brings what MLflow's server needs")
    (port,) = free_ports(1)
    flags = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    flags += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", str(folder / "files")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "mlflow", "server", *flags], cwd=folder, env=environment,
                                  stdout=log, stderr=log, start_new_session=True)  # fmt: skip
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health") or server.poll() is not None)
        assert server.poll() is None, (folder / "server.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait()


def answers(url: str) -> bool:
    """Tell whether a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def silent_server() -> Iterator[str]:
    """Listen where nobody ever answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def wandb_records(file: Path) -> Iterator[Any]:
    """Read a `.wandb` file: LevelDB's log of W&B's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = file.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while at + HEADER <= len(data):
        if (left := BLOCK - at % BLOCK) < HEADER:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
