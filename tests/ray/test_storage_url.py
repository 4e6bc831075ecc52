"""Real runs that are stored on a real S3 server: killed and gone on with on a new head, and the server away."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from heads import URL, Head, again, audited, bucket
from hosts import Driver
from seaweed import BUCKET, Seaweed
from support import records, reports, wait_for

from tuner.core.records import Record, Report, Session, Suggested
from tuner.core.state import replay
from tuner.ledger import read

FIRST = ("--space", "mine.yaml", "--name", "r")


@pytest.fixture
def head(tmp_path: Path, server: Seaweed) -> Head:
    """Have a machine to run on."""
    return Head(tmp_path / "head", server)


def test_killed_again_and_again_it_goes_on_from_the_url_on_a_new_head(
    tmp_path: Path, server: Seaweed, kills: int
) -> None:
    """Each head is lost with all that lay on it; the last one comes to the end."""
    flags, before = [*FIRST], list[Record]()
    for number in range(max(1, kills // 2)):
        head = Head(tmp_path / f"head{number}", server)
        with head.driver(*flags) as driver:
            _until_heard(driver, 20 if number == 0 else 4 + number % 3)
        _stands(before, records(head.run), number)
        flags, before = ["--resume", URL], records(head.run)
        shutil.rmtree(head.run)
    head = Head(tmp_path / "last", server)
    with head.driver(*flags) as driver:
        said = driver.ends(0)
    run = records(head.run)
    _stands(before, run, number + 1)
    assert set(again(run).values()) == {1}, "no epoch is recorded twice"
    state = replay(run)
    assert state.finished() and len(state.trials) == 8
    assert {trial.outcome for trial in state.trials.values()} <= {"finished", "stopped"}
    audited(head, URL)
    audited(head, "r")
    _is_whole_at_the_url(head, server, said)


def _until_heard(driver: Driver, count: int) -> None:
    """Wait for so many reports of this driver's own."""

    def enough() -> bool:
        run = records(driver.run)
        begun = [n for n, one in enumerate(run) if isinstance(one, Session) and one.pid == driver.pid]
        return bool(begun) and sum(isinstance(one, Report) for one in run[begun[0] :]) >= count

    driver.until_holds(enough)


def _stands(before: list[Record], run: list[Record], heads: int) -> None:
    """Hold what a head took over against what the one before it, if there was one, knew when it was killed."""
    known = next(n for n, one in enumerate(run) if isinstance(one, Session) and one.attempt == heads + 1)
    assert before[:known] == run[:known] or not before, "what is known stands"
    assert known >= 10 or not before, "all but the last seconds are known"
    params, now = ({one.trial: one.params for one in some if isinstance(one, Suggested)} for some in (before, run))
    assert all(params[trial] == now[trial] for trial in params.keys() & now.keys()), "what was lost is suggested again"


def _is_whole_at_the_url(head: Head, server: Seaweed, said: str) -> None:
    import torch

    files, state = bucket(server), replay(read(head.run))
    with files.open(f"{BUCKET}/runs/r/best/model.pt") as file:
        assert set(torch.load(file, weights_only=True)) == {"weight", "bias"}
    assert json.loads(files.cat_file(f"{BUCKET}/runs/r/summary.json"))["best"]["trial"] == state.best.trial
    assert f"Best loss {state.best.value:.6g}" in said
    for trial in state.trials.values():
        lines = files.cat_file(f"{BUCKET}/runs/r/trials/{trial.id}/log.txt").decode().splitlines()
        epochs = [int(line.split()[1]) for line in lines if line.startswith("trained")]
        assert set(range(1, trial.epoch + 1)) >= set(epochs), "the log may lack what was printed before a kill"
    there = {path.split("/")[4] for path in files.find(f"{BUCKET}/runs/r/trials") if "/checkpoints/" in path}
    assert there == {t.id for t in state.trials.values() if t.outcome == "finished"} | {state.best_saved.trial}


def test_a_second_driver_is_refused_until_the_first_is_interrupted(head: Head, tmp_path: Path, server: Seaweed) -> None:
    other, slow = Head(tmp_path / "other", server), head.folder / "slow"
    slow.touch()
    with head.driver(*FIRST) as driver:
        driver.until(2)
        assert f"{URL}: process {driver.pid} on" in other.call("--resume", URL, code=2)
        assert not other.run.exists()
        wait_for(lambda: "t0000" in other.call("--report", URL))
        assert "t0000 of r: " in other.call("--why", f"{URL}/t0000")
        assert "must end in a trial" in other.call("--why", f"{URL}/t0999", code=2)
        assert "must be given on the machine" in other.call("--stop", URL, code=2)
        assert f"must be a new name, but {URL} exists" in other.call(*FIRST, code=2)
        driver.process.send_signal(2)
        assert "Go on with" in driver.ends(130)
    slow.unlink()  # a resume looks in the folder of the first YAML, too
    with other.driver("--resume", URL) as driver:
        assert "waiting to see" not in driver.ends(0)
    assert records(other.run)[: len(records(head.run))] == records(head.run), "nothing was lost"
    assert replay(read(other.run)).finished()
    assert "Report:       r-report.html" in Head(tmp_path / "third", server).call("--report", URL)


def test_a_server_that_is_away_for_a_while_is_waited_for(head: Head, server: Seaweed) -> None:
    with head.driver(*FIRST, "--set", "fixed.sleep=0.3") as driver:
        driver.until(6)
        server.kill()
        driver.until_said("cannot be written")
        before = len(reports(head.run))
        time.sleep(5)
        assert len(reports(head.run)) <= before + 4, "trials wait: at most what was on its way is heard of"
        server.start()
        said = driver.ends(0)
    assert said.count("cannot be written") == 1
    state = replay(read(head.run))
    assert state.finished() and set(again(records(head.run)).values()) == {1}
    assert not any(trial.losses for trial in state.trials.values())
    audited(head, URL)


def test_what_cannot_be_stored_is_told_before_anything_starts(head: Head) -> None:
    flags = [*FIRST, "--no-dashboard", "--set"]
    assert "Make the bucket first" in head.call(*flags, "storage=s3://no-such-bucket/runs", code=2)
    assert "must be a URL that fsspec opens" in head.call(*flags, "storage=nonsense://a/b", code=2)
    check = ["--space", "mine.yaml", "--check"]
    assert "Make the bucket first" in head.call(*check, "--set", "storage=s3://no-such-bucket/runs", code=2)
    assert "trials at once" in head.call(*check)
    assert not head.run.exists()
