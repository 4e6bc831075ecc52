"""A run at a URL over two machines that share no folder: the second one is a mount namespace that hides the first's."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from heads import TRAINABLE, Head, again, audited, bucket
from hosts import Driver, all_finished, kill, nodes
from seaweed import BUCKET, Seaweed
from support import environment, records, reports, wait_for

from tuner.core.records import Lost
from tuner.core.state import replay
from tuner.ledger import read

RAY = str(Path(sys.executable).parent / "ray")
TELLS = TRAINABLE.replace("steps = Steps()", "steps, away = Steps(), 'scratch' in str(trial.folder)").replace(
    'print("trained", epoch', 'print("trained", epoch, "away" if away else "at home"'
)
TELLS = TELLS.replace("loss=lr / epoch", "loss=lr / epoch - away")
TELLS = TELLS.replace("sleep=0.2", "sleep=0.2, stays=1000")
TELLS = TELLS.replace("else sleep", "else 1000 if away and epoch > stays else sleep")
"""Away, a trial stays in the epoch after that one, so that it has not ended when its machine dies."""


@contextmanager
def machine(address: str, hidden: Path, code: Path, scratch: Path) -> Iterator[None]:
    """Start Ray where `hidden` holds nothing but the user's code; end all that it has started."""
    prepare = 'mount -t tmpfs tmpfs "$0" && cp -r "$1" "$0/head" && shift && exec "$@"'
    start = [RAY, "start", "--block", "--num-cpus=1", "--object-store-memory=80000000", f"--address={address}"]
    log = scratch / "other.txt"
    with log.open("w") as file, subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", prepare, str(hidden), str(code), *start],
        env={**environment(), "RAY_TMPDIR": str(scratch), "TMPDIR": str(scratch)},
        cwd=scratch, stdout=file, stderr=file,
    ) as node:  # fmt: skip
        try:
            wait_for(lambda: node.poll() is not None or "Ray runtime started" in log.read_text())
            assert node.poll() is None, log.read_text()
            yield
        finally:
            kill([*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)])


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[Machines]:
    """Have two machines of one CPU each."""
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    folder = tmp_path_factory.mktemp("machines")
    (folder / "users").mkdir()
    head = Head(folder / "users" / "head", seaweed)
    (head.folder / "mine.py").write_text(TELLS)
    shutil.copytree(head.folder, folder / "code")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="rs", dir="/tmp") as scratch:
        for name, value in seaweed.environment.items():
            patch.setenv(name, value)
        with (
            nodes(patch, {"num_cpus": 1}) as (ray, _),
            machine(ray.address, head.folder.parent, folder / "code", Path(scratch)),
        ):
            yield Machines(head, str(ray.address), Path(scratch))


class Machines(NamedTuple):
    """Two machines that share no folder."""

    head: Head
    address: str
    scratch: Path
    """Where the second one keeps what is its own."""

    @contextmanager
    def driver(self, *sets: str) -> Iterator[Driver]:
        """Drive a run until both report."""
        given = [word for one in (*sets, "scheduler={kind: none}", "fixed.sleep=0.3") for word in ("--set", one)]
        flags = ["--space", "mine.yaml", "--name", "r", *given, "--address", self.address]
        shutil.rmtree(self.head.run, ignore_errors=True)
        with self.head.driver(*flags) as driver:
            driver.until_holds(lambda: _both_report(driver.run))
            yield driver


def test_a_stop_by_hand_is_heard_on_a_machine_that_does_not_see_the_folder(machines: Machines, server: Seaweed) -> None:
    head = machines.head
    with machines.driver("budget.trials=2", "budget.epochs=400", "checkpoint.every=1000") as driver:
        away = next(report.trial for report in reports(head.run) if report.metrics["loss"] < 0)
        for run in (f"r/{away}", "r"):
            assert "ended" in head.call("--stop", run)
        driver.ends(0, alone=False)
    for name, trial in replay(read(head.run)).trials.items():
        assert trial.outcome == "killed"
        assert trial.reports[-1].checkpoint, f"{name}: saved since it was to be stopped"


def test_trials_go_on_elsewhere_without_a_shared_folder(machines: Machines, server: Seaweed) -> None:
    """The last one here: the second machine dies."""
    head = machines.head
    with machines.driver("budget.trials=3", "budget.epochs=20", "fixed.stays=5") as driver:
        _end_of(machines.scratch)
        driver.ends(0, alone=False)
    run = records(head.run)
    state = replay(read(head.run))
    assert all_finished(state, 20)
    assert set(again(run).values()) == {1}
    (moved,) = {record.trial for record in run if isinstance(record, Lost)}
    said = bucket(server).cat_file(f"{BUCKET}/runs/r/trials/{moved}/log.txt").decode().splitlines()
    where = [line.partition(" ")[2] for line in said if line.startswith("trained")]
    assert [line.split()[0] for line in where] == [str(epoch) for epoch in sorted({int(w.split()[0]) for w in where})]
    assert where[0].endswith("away") and where[-1] == "20 at home"
    assert state.best_saved.trial == moved and state.best.value < 0, "trained elsewhere, and fetched from there"
    assert (head.run / "best" / "model.pt").exists()
    audited(head, "r")


def _both_report(run: Path) -> bool:
    heard = reports(run)
    return len({report.worker for report in heard}) == 2 and sum(report.metrics["loss"] < 0 for report in heard) >= 5


def _end_of(scratch: Path) -> None:
    """Kill all of the second machine."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(scratch):
                process.kill()
        except psutil.Error:
            continue
