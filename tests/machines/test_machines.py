"""`ray up cluster.yaml` on three machines, two runs that are submitted from outside, one machine dies, one comes."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.test_spot import interruption, metadata
from hosts import Driver
from pages import blocks
from support import decided_alike, records, reports, wait_for

from machines.made import Machines, environment_of_this, missing
from machines.user import Dashboard, User, furnish
from tuner.core.records import Given, Lost, Suggested
from tuner.core.state import replay
from tuner.errors import Interrupted
from tuner.ledger import read

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]
HEAD, STAYS, DIES, COMES = range(4)
FILES = {block.file: block.text for block in blocks("docs/journeys/cluster.md") if block.file}
SETS = {"ana": ["budget.trials=3", "budget.epochs=600"], "ben": ["budget.trials=3", "budget.epochs=20"]}
"""Three trials each, one on each machine. Ana's last until her run is stopped, and Ben's come to their end.

There are no more of Ana's: another one would take the new machine, where it joins before the dead one is missed.
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Have a folder whose path is short: sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="mm", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def machines(folder: Path) -> Iterator[Machines]:
    """Have machines that see, beside Python, one shared folder."""
    if reason := missing():
        pytest.skip(reason)
    for name in ("home", "wheels", "shared"):
        (folder / name).mkdir()
    furnish(folder / "home", folder / "wheels")
    seen = [folder / "wheels", folder / "shared", *environment_of_this()]
    with Machines(folder / "keys", folder / "home", seen) as made:
        yield made


def from_afar(who: str, user: User, board: Dashboard, folder: Path) -> Driver:
    """Submit a run of the page's from a folder of its own, and follow it; the run's folder is on the shared disk."""
    job, shared = folder / f"job-{who}", folder / "shared"
    job.mkdir()
    for name in ("net.py", f"{who}.yaml"):
        (job / name).write_text(FILES[name])
    sets = [f"storage={shared}", "scheduler={kind: none}", *SETS[who]]
    flags = ["--space", f"{who}.yaml", "--name", who, "--address", board.address]
    flags += [word for one in sets for word in ("--set", one)]
    return Driver(job, flags, run=shared / who, HOME=str(user.home))


def test_two_runs_on_machines_that_go_and_come(folder: Path, machines: Machines) -> None:
    user = User(folder / "user", machines)
    for number in (HEAD, STAYS, DIES):
        machines.on(number)
    first = {machines.address(number) for number in (HEAD, STAYS, DIES)}
    user.fill_in([STAYS, DIES])
    user.token()
    user.up()
    with user.dashboard() as board:
        strangers_are_refused(user, board, f"{machines.address(HEAD)}:6379")
        wait_for_nodes(machines, board, first)
        assert {machines.ssh(number, "stat -c %a ~/.ray/auth_token") for number in (HEAD, STAYS)} == {"600\n"}

        with from_afar("ana", user, board, folder) as ana:
            wait_for(lambda: begun(ana.run) >= len(first), 240)  # each has its place from here on
            with from_afar("ben", user, board, folder) as ben:
                wait_for(lambda: {report.node for report in reports(ana.run)} == first, 240)
                victims = [trial_on(machines.address(DIES), one.run) for one in (ana, ben)]
                machines.off(DIES)
                machines.on(COMES)
                user.fill_in([STAYS, DIES, COMES])
                with user.tensorboard(ana.run / "tensorboard") as tensorboard:
                    user.up("--no-restart")
                    wait_for_nodes(machines, board, {machines.address(COMES)})
                    wait_for(lambda: {report.trial for report in reports(ana.run)} <= tensorboard.shown())
                goes_on(ana, victims[0], machines.address(COMES))
                ben.ends(0, alone=False)

            (job,) = re.findall(r"^Job (\S+) on", ana.said(), re.MULTILINE)
            user.ray("job", "stop", "--address", board.address, job, RAY_AUTH_MODE="token")
            assert board.job(job) == "STOPPED"
            ana.ends(Interrupted.exit_code, alone=False)
        for one in (ana, ben):
            assert (one.folder / "runs" / one.run.name / "ledger").read_bytes() == (one.run / "ledger").read_bytes()
        a_spot_warning_is_heeded(machines, board)
    for one, victim, share in zip((ana, ben), victims, (0.5, 0.25), strict=True):
        the_run_is_whole(one.run, victim, machines)
        assert {record.gpus for record in records(one.run) if isinstance(record, Given)} == {share}
    assert {trial.outcome for trial in replay(read(ben.run)).trials.values()} == {"finished"}
    user.ray("down", "-y", str(user.file))
    assert machines.ssh(HEAD, "pgrep -f '[g]cs_server|[r]aylet/raylet|[d]ashboard|[t]ensorboard'") == ""


def goes_on(driver: Driver, trial: str, address: str) -> None:
    """Wait until a trial reports from a machine, which is asked again after a minute if it was slow to answer."""
    deadline = time.monotonic() + 300
    while (trial, address) not in {(report.trial, report.node) for report in reports(driver.run)}:
        if time.monotonic() > deadline:
            pytest.fail(driver.said())
        time.sleep(0.5)


def begun(run: Path) -> int:
    """Count the trials of a run so far."""
    return sum(isinstance(record, Suggested) for record in records(run))


def trial_on(address: str, run: Path) -> str:
    """Wait until a trial on this node has reported, which has just begun; names it."""
    wait_for(lambda: address in {report.node for report in reports(run)}, 240)
    (trial,) = {report.trial for report in reports(run) if report.node == address}
    return trial


def wait_for_nodes(machines: Machines, board: Dashboard, wanted: set[str]) -> None:
    """Wait until nodes have joined; where two cores have much else to do, the head needs more than one try.

    One try has been seen to take 250 s: five starts of Ray, each of which gives up after 30 s.
    """
    deadline = time.monotonic() + 600
    while not wanted <= board.alive():
        if time.monotonic() > deadline:
            pytest.fail(machines.ssh(HEAD, "tail -n 300 /tmp/ray/session_latest/logs/monitor.*"))
        time.sleep(1)


def strangers_are_refused(user: User, board: Dashboard, address: str) -> None:
    """Knock at the dashboard and at the head without the token, and with a wrong one."""
    assert board.status("/api/jobs/", token="") == 401
    assert board.status("/api/jobs/", token="guessed" * 8) in (401, 403)
    for stranger in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "guessed" * 8}):
        assert "uthenticat" in user.ray("status", "--address", address, fails=True, **stranger)


def a_spot_warning_is_heeded(machines: Machines, board: Dashboard) -> None:
    """Warn a worker on which nothing runs, as AWS does: Ray drains it, and it leaves."""
    with metadata(machines.gateway) as service:
        service.says = interruption(seconds=100)
        said = machines.ssh(STAYS, "cd tuner && RAY_AUTH_MODE=token ~/tuner-env/bin/python -m tuner.spot aws "
                            f"--service {service.url} 2>&1")  # fmt: skip
    assert said.endswith("Ray drains this node\n"), said
    wait_for(lambda: machines.address(STAYS) not in board.alive())


def the_run_is_whole(run: Path, victim: str, machines: Machines) -> None:
    """Hold what was recorded against what must be: one trial lost its machine, and none its work."""
    lost = [(record.trial, record.cause) for record in records(run) if isinstance(record, Lost)]
    assert lost == [(victim, "machine")]
    nodes = [report.node for report in reports(run) if report.trial == victim]
    assert nodes[0] == machines.address(DIES) and nodes[-1] != machines.address(DIES)
    state = replay(read(run))
    for name, trial in state.trials.items():
        heard = [report.epoch for report in reports(run) if report.trial == name]
        assert heard == list(range(1, trial.epoch + 1)), f"{name}: no epoch is skipped, none recorded twice"
        assert trial.outcome in (None, "finished")
        assert trial.epoch == state.spec.budget.epochs or trial.outcome is None, f"{name}: the run can be resumed"
    decided_alike(run)
