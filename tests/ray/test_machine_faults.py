"""Real runs on machines that break: the clock is set back, the memory runs out, the disk turns read-only."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import STEADY, Driver, all_finished, holds
from support import SPELLED, decided_alike, records, wait_for

from tuner.core.records import Lost
from tuner.core.state import replay
from tuner.ledger import read

LONG = {"budget": {"trials": 4, "epochs": 30}, "scheduler": {"kind": "none"}}
GREEDY = STEADY.replace(
    "        counter.n += 1\n",
    "        counter.n += 1\n"
    "        if trial.id == 't0001' and epoch == 3:\n"
    "            kept = []\n"
    "            while True: kept.append(b'x' * 2**24)\n",
)
CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long still, *shift = &still;
__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("TEST_CLOCK"), O_RDONLY);
    void *at = file < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) shift = at;
    close(file);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += *shift;
    return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec, at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return at ? (*at = now.tv_sec) : now.tv_sec;
}
"""
"""A library that all programs ask for the time of day before they ask the system."""


def test_the_clock_is_set_back_by_an_hour(write, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    write(STEADY, budget={"trials": 50, "epochs": 60, "hours": 30 / 3600}, scheduler={"kind": "none"})
    with Driver(tmp_path, **clock.environment) as driver:
        driver.until(10)
        clock.set_back(3600)
        before = len(records(driver.run))
        driver.ends(0)
    state, times = replay(read(driver.run)), [record.time for record in records(driver.run)[1:]]
    assert state.closed == "hours"
    assert times == sorted(times)
    assert 29 < state.elapsed < 78, "the session is begun a moment before its record"
    assert len(records(driver.run)) > before, "it went on after the clock was set back"
    assert holds(driver.run, deaths=0).best is not None


def test_the_kernel_kills_a_trial_that_takes_all_memory(write, memory: list[str], tmp_path: Path) -> None:
    write(GREEDY, budget={"trials": 4, "epochs": 10}, scheduler={"kind": "none"})
    with Driver(tmp_path, before=memory) as driver:
        said = driver.ends(0)
    assert "t0001 infeasible after epoch 2: out of memory: its process was killed by the kernel" in said
    assert not [record for record in records(driver.run) if isinstance(record, Lost)], "no Ray worker was taken for it"
    state = holds(driver.run, deaths=0)
    assert state.trials.pop("t0001").outcome == "infeasible"
    assert all_finished(state, 10)


def test_the_disk_turns_read_only(launch, write, disk: Disk, tmp_path: Path) -> None:
    write(STEADY, storage=str(disk.folder), **LONG)
    run = disk.folder / "r"
    with Driver(tmp_path, run=run) as driver:
        driver.until(10)
        disk.turn_read_only()
        said = driver.ends(3)
    assert f"Go on with: {SPELLED} --resume {run}" in said
    assert said.count("Read-only file system") == 1
    refused = launch("--resume", str(run), "--no-dashboard", code=3)
    assert refused.stderr.count("Read-only file system") == 1
    assert "Traceback" not in refused.stdout + refused.stderr
    before = read(run)
    disk.mount_again()
    left = read(run)
    assert left == before[: len(left)], "what was not synced may be gone, from the end on"
    launch("--resume", str(run), "--no-dashboard")
    state = replay(read(run))
    assert all_finished(state, 30)
    assert all([report.epoch for report in trial.reports] == list(range(1, 31)) for trial in state.trials.values())
    decided_alike(run)


@pytest.fixture
def memory() -> Iterator[list[str]]:
    """Make a group of processes that have little memory together; gives the beginning of a command line in it."""
    if (group := _memory_group()) is None:
        pytest.skip("no memory cgroup can be made here")
    yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    wait_for(lambda: not (group / "cgroup.procs").read_text(), 60)
    group.rmdir()


def _memory_group() -> Path | None:
    limit = (6 + (os.cpu_count() or 1)) * 2**28  # Ray starts a process for each CPU
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"tuner-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / name).exists():
            (group / name).write_text(str(limit))
            return group
        group.rmdir()
    return None


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Have a disk of our own."""
    with Disk(tmp_path) as made:
        yield made


class Clock:
    """The time of day for a run and all below it. libfaketime is no help: it bends the monotonic clock's sleep too."""

    def __init__(self, folder: Path) -> None:
        if (compiler := shutil.which("cc")) is None:
            pytest.skip("there is no C compiler here")
        self._file, source, library = folder / "clock", folder / "clock.c", folder / "clock.so"
        self._file.write_bytes(struct.pack("l", 0))
        source.write_text(CLOCK)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "TEST_CLOCK": str(self._file)}

    def set_back(self, seconds: int) -> None:
        """Set it back by so many seconds, for all who live by it."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("l", -seconds))


class Disk:
    """A small disk with a journal, which can turn read-only while files on it are open, as a failing one does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.image = folder / "disk", folder / "disk.img"
        self.folder.mkdir()
        with self.image.open("wb") as file:
            file.truncate(64 * 2**20)
        if shutil.which("mkfs.ext4") is None or subprocess.run(["mkfs.ext4", "-q", "-F", self.image]).returncode:
            pytest.skip("no file system with a journal can be made here")
        if self._mount().returncode:
            pytest.skip("a disk cannot be mounted here")

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True)

    def turn_read_only(self) -> None:
        """Do what the kernel does when writing fails: what was not synced is lost with the next mount."""
        subprocess.run(["mount", "-o", "remount,abort", self.folder], check=True)

    def mount_again(self) -> None:
        """Mount it anew, in order again: as a copy, for `mount` takes what is still there, and another test's
        namespace may hold the broken one."""
        subprocess.run(["umount", self.folder], check=True)
        self.image = Path(shutil.copy(self.image, self.image.with_suffix(".copy")))
        assert not self._mount().returncode

    def _mount(self) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["mount", "-o", "loop,errors=remount-ro", self.image, self.folder], check=False)
