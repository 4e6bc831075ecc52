"""Real runs that are stored on a real S3 server: killed and gone on with on a new head, and the server away."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from heads import URL, Head, again, audited, bucket
from seaweed import BUCKET, Seaweed
from support import records, reports, wait_for

from tuner.core.records import Session, Suggested
from tuner.core.state import replay
from tuner.ledger import read

pytestmark = pytest.mark.ray


@pytest.fixture
def head(tmp_path: Path, server: Seaweed) -> Head:
    """Have a machine to run on."""
    return Head(tmp_path / "head", server)


def test_a_new_head_goes_on_from_the_url(head: Head, tmp_path: Path, server: Seaweed) -> None:
    with head.driver("--space", "mine.yaml", "--name", "r") as driver:
        driver.until(20)
    first = records(head.run)
    new = Head(tmp_path / "new", server)
    shutil.rmtree(head.run)
    with new.driver("--resume", URL) as driver:
        said = driver.ends(0)
    second = records(new.run)
    known = next(n for n, record in enumerate(second) if isinstance(record, Session) and record.attempt == 2)
    assert first[:known] == second[:known], "what is known stands"
    assert known >= 10, "all but the last seconds are known"
    assert set(again(second).values()) == {1}, "no epoch is recorded twice"
    params = {one.trial: one.params for one in first if isinstance(one, Suggested)}
    assert params.items() <= {one.trial: one.params for one in second if isinstance(one, Suggested)}.items()
    state = replay(second)
    assert state.finished() and len(state.trials) == 8
    assert {trial.outcome for trial in state.trials.values()} <= {"finished", "stopped"}
    audited(new, URL)
    audited(new, "r")
    _is_whole_at_the_url(new, server, said)


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


def test_killed_again_and_again_on_one_new_head_after_another(tmp_path: Path, server: Seaweed, kills: int) -> None:
    """Each head is lost with all that lay on it; the last one comes to the end."""
    flags, seen = ["--space", "mine.yaml", "--name", "r"], 0
    for number in range(kills):
        head = Head(tmp_path / f"head{number}", server)
        with head.driver(*flags) as driver:
            driver.until(seen + 4 + number % 3)
        seen = len(reports(head.run))
        shutil.rmtree(head.run)
        flags = ["--resume", URL]
        seen = min(seen, _copied(server, tmp_path / f"look{number}"))
    head = Head(tmp_path / "last", server)
    with head.driver("--resume", URL) as driver:
        driver.ends(0)
    assert set(again(records(head.run)).values()) == {1}
    assert replay(read(head.run)).finished()
    audited(head, URL)


def _copied(server: Seaweed, folder: Path) -> int:
    head = Head(folder, server)
    said = head.call("--report", URL)
    return int(said.partition(" epochs in ")[0].rpartition(" ")[2])


def test_a_second_driver_is_refused_and_a_url_can_be_read(head: Head, tmp_path: Path, server: Seaweed) -> None:
    other = Head(tmp_path / "other", server)
    with head.driver("--space", "mine.yaml", "--name", "r", "--set", "fixed.sleep=1") as driver:
        driver.until(2)
        assert f"{URL}: process {driver.pid} on" in other.call("--resume", URL, code=2)
        assert not other.run.exists()
        wait_for(lambda: "t0000" in other.call("--report", URL))
        assert "t0000 of r: " in other.call("--why", f"{URL}/t0000")
        assert "must end in a trial" in other.call("--why", f"{URL}/t0999", code=2)
        assert "must be given on the machine" in other.call("--stop", URL, code=2)
        assert f"must be a new name, but {URL} exists" in other.call("--space", "mine.yaml", "--name", "r", code=2)
        head.call("--stop", "r")
        driver.ends(0)
    assert replay(read(head.run)).closed == "asked"
    assert "Report:       r-report.html" in other.call("--report", URL)


def test_a_server_that_is_away_for_a_while_is_waited_for(head: Head, server: Seaweed) -> None:
    with head.driver("--space", "mine.yaml", "--name", "r", "--set", "fixed.sleep=0.3") as driver:
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


def test_an_interrupted_run_can_be_gone_on_with_at_once_elsewhere(head: Head, tmp_path: Path, server: Seaweed) -> None:
    with head.driver("--space", "mine.yaml", "--name", "r") as driver:
        driver.until(5)
        driver.process.send_signal(2)
        said = driver.ends(130)
    assert "Go on with" in said
    new = Head(tmp_path / "new", server)
    with new.driver("--resume", URL) as driver:
        assert "waiting to see" not in driver.ends(0)
    assert records(new.run)[: len(records(head.run))] == records(head.run), "nothing was lost"
    assert replay(read(new.run)).finished()


def test_what_cannot_be_stored_is_told_before_anything_starts(head: Head) -> None:
    flags = ["--space", "mine.yaml", "--name", "r", "--no-dashboard", "--set"]
    assert "Make the bucket first" in head.call(*flags, "storage=s3://no-such-bucket/runs", code=2)
    assert "must be a URL that fsspec opens" in head.call(*flags, "storage=nonsense://a/b", code=2)
    check = ["--space", "mine.yaml", "--check"]
    assert "Make the bucket first" in head.call(*check, "--set", "storage=s3://no-such-bucket/runs", code=2)
    assert "trials at once" in head.call(*check)
    assert not head.run.exists()
