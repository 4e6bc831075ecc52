"""`ray up cluster.yaml` on three machines, a run that is submitted from outside, one machine that dies, one that comes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hosts import STEADY
from support import records, reports, wait_for

from machines.made import Machines, environment_of_this, missing
from machines.user import Dashboard, User, furnish
from tuner.core.records import Lost
from tuner.core.state import replay
from tuner.ledger import read

pytestmark = [pytest.mark.ray, pytest.mark.slow]
HEAD, STAYS, DIES, COMES = range(4)
EPOCHS = 60


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


def submit(user: User, board: Dashboard, folder: Path) -> Path:
    """Submit a run as a job; returns the folder of the run, which is on the shared disk."""
    job, shared = folder / "job", folder / "shared"
    job.mkdir()
    (job / "mine.py").write_text(STEADY)
    spec = {
        "trainable": "mine:train", "objective": {"metric": "loss", "mode": "min"}, "storage": str(shared),
        "budget": {"trials": 4, "epochs": EPOCHS}, "scheduler": {"kind": "none"}, "search": {"kind": "random"},
        "space": {"lr": {"dist": "float", "low": 0.001, "high": 1.0}}, "fixed": {"sleep": 0.5},
    }  # fmt: skip
    (job / "mine.yaml").write_text(yaml.safe_dump(spec))
    tune = ["python", "-m", "tuner", "--space", "mine.yaml", "--name", "r"]
    user.ray("job", "submit", "--address", board.address, "--no-wait", "--submission-id", "r",
             "--working-dir", str(job), "--", *tune, RAY_AUTH_MODE="token")  # fmt: skip
    return shared / "r"


def test_a_run_on_machines_that_go_and_come(folder: Path, machines: Machines) -> None:
    t=time.monotonic()
    def say(*a): print(f"[{time.monotonic()-t:.1f}]",*a,flush=True)
    user = User(folder / "user", machines)
    for number in (HEAD, STAYS, DIES):
        machines.on(number)
    user.fill_in([STAYS, DIES])
    user.token()
    say("up"); print(user.ray("up", "-y", str(user.file)))
    say("is up")
    with user.dashboard() as board:
        say("tunnel")
        assert board.status("/api/version", token="") == 401
        wait_for(lambda: len(board.alive()) == 3)
        say("3 alive")
        run = submit(user, board, folder)
        say("submitted")
        try:
            wait_for(lambda: len({report.node for report in reports(run)}) == 3)
        finally:
            print(user.ray("job","logs","--address",board.address,"r",RAY_AUTH_MODE="token"))
        say("3 hosts train")
        machines.off(DIES)
        say("one off")
        machines.on(COMES)
        user.fill_in([STAYS, DIES, COMES])
        print(user.ray("up", "-y", "--no-restart", str(user.file)))
        say("up again")
        wait_for(lambda: any(isinstance(record, Lost) for record in records(run)))
        say("lost seen", [r for r in records(run) if isinstance(r, Lost)])
        wait_for(lambda: machines.address(COMES) in board.alive())
        say("new alive", board.alive())
        wait_for(lambda: board.get("/api/jobs/r")["status"] not in ("PENDING", "RUNNING"))
        say("job ended", board.get("/api/jobs/r"))
        print(user.ray("job","logs","--address",board.address,"r",RAY_AUTH_MODE="token"))
    print(user.ray("exec", str(user.file), "ray status"))
    print(machines.ssh(0, "tail -n 60 /tmp/ray/session_latest/logs/monitor.log"))
    print(user.ray("down", "-y", str(user.file)))
    say("down")
    for i in range(30):
        n=[machines.ssh(k,"pgrep -fc '[r]aylet/raylet|[g]cs_server'").strip() for k in (0,1,3)]
        say(n)
        if set(n)=={"0"}: break
        time.sleep(5)
    state = replay(read(run))
    print({(trial.outcome, trial.epoch) for trial in state.trials.values()})
