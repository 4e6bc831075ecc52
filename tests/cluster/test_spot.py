"""The watch for spot warnings, against a metadata service that a local server plays, and against a real Ray."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hosts import two_nodes
from support import ROOT, environment

from tuner import spot


class Metadata(BaseHTTPRequestHandler):
    """The metadata services of both clouds, as strict as they are; what they say stands on the server."""

    def do_PUT(self) -> None:
        asks = self.path == "/latest/api/token" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"])
        self._answer("a session" if asks else None)

    def do_GET(self) -> None:
        if self.path.startswith("/latest/"):
            allowed = self.headers["X-aws-ec2-metadata-token"] == "a session"
        else:
            allowed = self.headers["Metadata-Flavor"] == "Google"
        self.server.asked += 1
        self._answer(self.server.says.get(self.path), 404 if allowed else 401)

    def _answer(self, text: str | None, otherwise: int = 404) -> None:
        self.send_response(200 if text is not None and otherwise != 401 else otherwise)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *what: object) -> None:
        """Keep quiet."""


@contextmanager
def metadata(host: str = "127.0.0.1") -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer((host, 0), Metadata) as server:
        server.says, server.asked, server.url = {}, 0, f"http://{host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def service() -> Iterator[ThreadingHTTPServer]:
    with metadata() as server:
        yield server


def interruption(seconds: int) -> dict[str, str]:
    """Spell what AWS says of a spot machine that it will terminate."""
    when = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"/latest/meta-data/spot/instance-action": json.dumps({"action": "terminate", "time": when})}


class Noon(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime(2026, 11, 26, 12, tzinfo=tz)


def test_aws_warns_with_the_time_that_is_left(service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spot, "datetime", Noon)
    assert spot.aws(service.url) is None
    for when, seconds in (("13:00:00", 3600), ("12:01:50", 110), ("11:59:00", 0)):
        said = json.dumps({"action": "terminate", "time": f"2026-11-26T{when}Z"})
        service.says = {"/latest/meta-data/spot/instance-action": said}
        assert spot.aws(service.url) == ("AWS will terminate this spot machine", seconds)


def test_ray_is_told_how_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    answer = subprocess.CompletedProcess([], 0, "")
    monkeypatch.setattr(spot.subprocess, "run", lambda words, **more: (told.append(words), answer)[1])
    assert spot.drain(spot.Warned("it goes", 110), "ab12") == ""
    flags = dict(itertools.pairwise(told[0]))
    assert flags["--deadline-remaining-seconds"] == "110" and flags["--node-id"] == "ab12"


@pytest.mark.parametrize(
    ("preempted", "event", "seconds"),
    [
        ("FALSE", "NONE", None),
        ("FALSE", "MIGRATE_ON_HOST_MAINTENANCE", None),
        ("TRUE", "NONE", spot.GCP_PREEMPTED),
        ("FALSE", "TERMINATE_ON_HOST_MAINTENANCE", spot.GCP_MAINTENANCE),
    ],
)
def test_google_warns_of_what_ends_the_machine(service, preempted: str, event: str, seconds: int | None) -> None:
    instance = "/computeMetadata/v1/instance"
    service.says = {f"{instance}/preempted": preempted, f"{instance}/maintenance-event": event}
    warned = spot.gcp(service.url)
    assert (warned and warned.seconds) == seconds


def test_a_service_that_does_not_answer_is_said_once_and_asked_again(capsys) -> None:
    answers = iter([OSError("no route"), OSError("no route"), None, OSError("no route"), spot.Warned("it goes", 30)])

    def look() -> spot.Warned | None:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert spot.watch(look, every=0) == ("it goes", 30)
    assert capsys.readouterr().out == "the metadata service does not answer: no route\n" * 2


HOLDS = """
import json, sys, time, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
ray.init(sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(sys.argv[2], soft=False))
class Trial:
    def trains(self): return True

trial = Trial.remote()
ray.get(trial.trains.remote())
print(json.dumps(ray._private.state.state.get_draining_nodes()), flush=True)
while not (draining := ray._private.state.state.get_draining_nodes()):
    time.sleep(0.1)
print(json.dumps(draining), ray.get(trial.trains.remote()), flush=True)
"""
"""Holds a node, since one on which nothing runs ends as soon as it is drained; tells which nodes are being drained."""


@pytest.mark.ray
def test_ray_drains_the_node_that_was_warned(service, monkeypatch) -> None:
    with two_nodes(monkeypatch) as (cluster, other):
        words = ["-m", "tuner.spot", "aws", "--service", service.url, "--every", "0.2", "--node-id", other.node_id]
        with (
            python("-c", HOLDS, cluster.address, other.node_id) as holder,
            python(*words, RAY_ADDRESS=cluster.address) as watcher,
        ):
            assert json.loads(holder.stdout.readline()) == {}
            assert watcher.poll() is None, watcher.stdout.read()
            service.says = interruption(seconds=110)
            said = watcher.communicate(timeout=60)[0]
            assert watcher.returncode == 0 and said.endswith("Ray drains this node\n"), said
            told, works = holder.communicate(timeout=60)[0].rsplit(maxsplit=1)
        assert works == "True", "what runs there goes on"
        ((node, deadline),) = json.loads(told).items()
        assert node == other.node_id
        assert deadline > 0, "Ray knows until when"


@contextmanager
def python(*words: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python beside the test, and end it with this block."""
    with subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env={**environment(), **more}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT if "-m" in words else None,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
