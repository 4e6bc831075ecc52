"""One driver at a time: a lease is held, refused, taken over, and given up by who has lost it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tuner.errors import Locked
from tuner.storage import lease as leases
from tuner.storage.lease import Lease, Taken
from tuner.storage.machine import started
from tuner.storage.url import Objects


class Clock:
    """Time that goes on when somebody waits, and what happens then."""

    def __init__(self, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.waited, self.then = 1000.0, 0.0, lambda: None
        self.put_at: dict[str, float] = {}
        monkeypatch.setattr(leases, "time", self)
        put, create = objects.put, objects.create
        monkeypatch.setattr(objects, "put", lambda name, data: (put(name, data), self._note(name))[0])
        monkeypatch.setattr(objects, "create", lambda name, data: (create(name, data), self._note(name))[0])
        monkeypatch.setattr(objects, "modified", lambda name: (objects.get(name), self.put_at[name])[1])

    def _note(self, name: str) -> None:
        self.put_at[name] = self.now

    def clock_gettime(self, clock: int) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waited += seconds
        self.then()


@pytest.fixture
def clock(memory: Objects, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give a clock that the server of `memory` has too."""
    return Clock(memory, monkeypatch)


def elsewhere(objects: Objects, **more: Any) -> Lease:
    """Make the lease of a driver on another machine."""
    made = Lease(objects)
    made._holder = leases.replace(made._holder, machine="another", host="far", pid=7, **more)
    return made


def take(one: Lease) -> list[str]:
    said: list[str] = []
    one.take(said.append)
    return said


def test_a_free_lease_is_taken_at_once(objects: Objects) -> None:
    first, second = Lease(objects), Lease(objects)
    assert take(first) == []
    first.renew()
    first.end()
    assert take(second) == []
    assert (first.term, second.term) == (1, 2)
    assert list(objects.list("lease")) == ["lease/000002"]


def test_a_driver_that_lives_keeps_others_out(memory: Objects, clock: Clock) -> None:
    first, second = elsewhere(memory), Lease(memory)
    take(first)
    clock.then = lambda: first.renew() if first.is_due() else None
    with pytest.raises(Locked, match="process 7 on far is driving this run"):
        take(second)
    assert clock.waited <= leases.RENEWED_SECONDS + 2 * leases.LOOK_SECONDS
    assert first.is_sure()


def test_a_driver_that_is_silent_is_taken_over_after_a_while(memory: Objects, clock: Clock) -> None:
    first, second = elsewhere(memory), Lease(memory)
    take(first)
    (said,) = take(second)
    assert "process 7 on far held this run's lease" in said
    assert clock.waited >= leases.EXPIRED_SECONDS > leases.TRUSTED_SECONDS
    assert not first.is_sure(), "it did nothing more, long before"
    with pytest.raises(Taken, match="has taken this run over"):
        first.renew()
    second.renew()


def test_a_driver_that_comes_back_at_the_last_moment_keeps_its_lease(memory: Objects, clock: Clock) -> None:
    first, second = elsewhere(memory), Lease(memory)
    take(first)
    clock.put_at = dict.fromkeys(clock.put_at, 0.0)
    clock._note = lambda name: clock.put_at.__setitem__(name, 0.0)  # the server's clock says nothing
    began, renewed = clock.now, []

    def wakes() -> None:
        if clock.now - began > leases.EXPIRED_SECONDS and not renewed:
            renewed.append(first.renew())

    clock.then = wakes
    with pytest.raises(Locked, match="process 7 on far is driving this run"):
        take(second)
    assert renewed and first.is_sure()
    first.renew()


def test_a_driver_that_ends_while_it_is_watched_is_not_taken_for_one_that_lives(memory: Objects, clock: Clock) -> None:
    first, second = elsewhere(memory), Lease(memory)
    take(first)
    held, looks = second._held, []

    def ends_after_the_first_look():
        looks.append(clock.now)
        if len(looks) == 4:  # between the try to take it and the look at why that failed
            first.end()
        return held()

    second._held = ends_after_the_first_look
    take(second)
    assert second.term == 2
    assert clock.waited <= 2 * leases.LOOK_SECONDS


def test_a_lease_that_cannot_be_read_is_told_like_any_url_that_fails(memory: Objects) -> None:
    for text in (b"", b"[]", b'{"of": "another version"}'):
        memory.put("lease/000001", text)
        with pytest.raises(OSError, match="is no lease of this version"):
            take(Lease(memory))


def test_time_goes_on_while_the_machine_sleeps() -> None:
    assert leases.CLOCK == time.CLOCK_BOOTTIME


def test_an_old_lease_is_taken_over_at_once(memory: Objects, clock: Clock) -> None:
    take(elsewhere(memory))
    clock.now += leases.EXPIRED_SECONDS + 1
    assert take(Lease(memory)) == []
    assert clock.waited == 0


def test_the_clock_of_this_machine_does_not_count(memory: Objects, clock: Clock) -> None:
    first = elsewhere(memory)
    take(first)
    clock.put_at = dict.fromkeys(clock.put_at, 0.0)  # by the server's clock it was just now
    clock._note = lambda name: clock.put_at.__setitem__(name, 0.0)
    clock.then = first.renew
    with pytest.raises(Locked):
        take(Lease(memory))


def test_a_driver_of_this_machine_that_is_dead_is_not_waited_for(memory: Objects, clock: Clock) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        first = Lease(memory)
        first._holder = leases.replace(first._holder, pid=process.pid, started=started(process.pid))
        take(first)
        clock.then = first.renew
        with pytest.raises(Locked):
            take(Lease(memory))
        process.kill()
    clock.then = lambda: pytest.fail("nobody is waited for")
    assert take(Lease(memory)) == []


@pytest.mark.slow
def test_of_many_that_take_over_at_once_one_gets_it(server, monkeypatch: pytest.MonkeyPatch, request) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.1)
    url = f"s3://tests/{request.node.name}"
    first = elsewhere(Objects(url))
    take(first)
    first.end()
    rivals = [elsewhere(Objects(url)) for _ in range(6)]

    refused = threading.Semaphore(0)

    def rival(one: Lease) -> bool:
        try:
            take(one)
        except Locked:
            refused.release()
            return False
        for _ in rivals[1:]:
            while not refused.acquire(timeout=0.05):
                one.renew()
        return True

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(rival, rivals))
    assert won.count(True) == 1
    held = json.loads(Objects(url).get("lease/000002"))
    assert held["id"] == rivals[won.index(True)]._holder.id
