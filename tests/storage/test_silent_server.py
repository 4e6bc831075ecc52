"""An S3 server that takes connections and says nothing."""

from __future__ import annotations

import socket
import threading

import pytest

from tuner.storage import url as urls
from tuner.storage.url import Objects


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch):
    """Have such a server; returns the connections that were made to it."""
    seen: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "none")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")

        def take() -> None:
            while True:
                try:
                    seen.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield seen
        server.shutdown(socket.SHUT_RDWR)
    for connection in seen:
        connection.close()


@pytest.mark.slow
def test_a_server_that_is_silent_is_given_up_after_few_tries(silent, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    monkeypatch.setitem(urls.S3["config_kwargs"], "read_timeout", 0.2)
    with pytest.raises(OSError, match=r"(?i)time"):
        Objects("s3://tests/silent").list("trials")
    assert len(silent) == 2 * urls.TRIES
