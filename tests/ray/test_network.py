"""A run over two hosts, between which the network is cut. Each host is a network namespace of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hosts import FLAGS, STEADY, Driver, all_finished, holds, kill
from support import environment, records, reports, wait_for

from tuner.core.records import Lost

SLOWED = STEADY.replace("sleep(sleep)", "sleep(1.0 if slow.exists() and slow.read_text() == trial.id else 0.1)")
SLOWED = SLOWED.replace("counter = Counter()", "counter, slow = Counter(), trial.folder.parents[3] / 'slow'")
RAY = str(Path(sys.executable).parent / "ray")
HEAD, OTHER = "10.77.99.1", "10.77.99.2"
OPEN = {"RAY_AUTH_MODE": "disabled"}  # a token that an earlier Ray has left here counts for the head alone
IMPATIENT = {f"RAY_health_check_{name}": value for name, value in {
    "initial_delay_ms": "1000", "period_ms": "1000", "timeout_ms": "1000", "failure_threshold": "3",
}.items()}  # fmt: skip


class Net:
    """Two hosts and a cable between them."""

    def __init__(self) -> None:
        self.names = [f"tuner{os.getpid()}{which}" for which in "ab"]

    def __enter__(self) -> Net:
        for name in self.names:
            if subprocess.run(["ip", "netns", "add", name], check=False).returncode:
                pytest.skip("no network namespace can be made here")
        first, second = self.names
        _ip("link", "add", "cable", "netns", first, "type", "veth", "peer", "name", "cable", "netns", second)
        for name, address in zip(self.names, (HEAD, OTHER), strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", name, "link", "set", device, "up")
        return self

    def __exit__(self, *error: object) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def on(self, host: int) -> list[str]:
        """Spell the beginning of a command line that runs on a host."""
        return ["ip", "netns", "exec", self.names[host]]

    def cut(self) -> None:
        """Pull the cable out of the second host."""
        _ip("-n", self.names[1], "link", "set", "cable", "down")

    def mend(self) -> None:
        """Plug it in again."""
        _ip("-n", self.names[1], "link", "set", "cable", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def net() -> Iterator[Net]:
    """Have two hosts."""
    if shutil.which("ip") is None:
        pytest.skip("there is no command `ip` here")
    with Net() as made:
        yield made


@contextlib.contextmanager
def ray_node(net: Net, host: int, scratch: Path, *flags: str) -> Iterator[None]:
    """Start Ray on a host, as a user does, and end it with all that it has started."""
    name = f"--node-ip-address={(HEAD, OTHER)[host]}"
    with (scratch / f"ray{host}.txt").open("w") as log, subprocess.Popen(
        [*net.on(host), RAY, "start", "--block", "--num-cpus=1", "--object-store-memory=80000000", name, *flags],
        env={**environment(), **IMPATIENT, **OPEN, "RAY_TMPDIR": str(scratch)}, cwd=scratch, stdout=log, stderr=log,
    ) as node:  # fmt: skip
        try:
            yield
        finally:
            kill([*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)])


@pytest.fixture
def cluster(net: Net) -> Iterator[str]:
    """Start Ray on both hosts; returns its address."""
    with tempfile.TemporaryDirectory(prefix="rn", dir="/tmp") as folder:
        scratch, address = Path(folder), f"{HEAD}:6399"
        (scratch / "ray").mkdir()
        with ray_node(net, 0, scratch, "--head", "--port=6399", "--include-dashboard=false", f"--temp-dir={scratch}"):
            wait_for(lambda: "Ray runtime started" in (scratch / "ray0.txt").read_text())
            with ray_node(net, 1, scratch, f"--address={address}"):
                wait_for(lambda: "Ray runtime started" in (scratch / "ray1.txt").read_text())
                yield address


def test_a_cut_network_takes_no_trial_with_it(write, tmp_path: Path, net: Net, cluster: str) -> None:
    write(SLOWED, budget={"trials": 2, "epochs": 100}, scheduler={"kind": "none"})
    slow = tmp_path / "slow"
    with Driver(tmp_path, [*FLAGS, "--address", cluster], before=net.on(0), **OPEN) as driver:
        wait_for(lambda: {report.node for report in reports(driver.run)} == {HEAD, OTHER})
        (away,) = {report.trial for report in reports(driver.run) if report.node == OTHER}
        old = psutil.Process(trainer(driver.run, away))
        slow.write_text(away)  # it shall be at work still when the other host takes its trial
        net.cut()
        driver.until_lost()
        assert old.is_running(), "nobody can reach it"
        wait_for(lambda: not old.is_running())
        wait_for(lambda: trainer(driver.run, away) != old.pid)
        net.mend()
        slow.unlink()
        driver.ends(0, alone=False)
    lost = [(record.trial, record.cause) for record in records(driver.run) if isinstance(record, Lost)]
    assert lost == [(away, "machine")]
    assert {report.node for report in reports(driver.run) if report.trial == away} == {HEAD, OTHER}
    assert all_finished(holds(driver.run, deaths=1), 100)


def trainer(run: Path, trial: str) -> int:
    """Read which process trains a trial, or was the last one."""
    lock = run / "trials" / trial / "lock"
    wait_for(lambda: lock.exists() and len(lock.read_text().split()) == 3)
    return int(lock.read_text().split()[1])
