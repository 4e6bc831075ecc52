"""Runs that are submitted as jobs from another folder, as from a laptop, to a head with a dashboard and a token."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from browser import chromium
from hosts import STEADY, Driver, kill
from support import SPELLED, environment, free_ports, reports, wait_for

from tuner.core.state import replay
from tuner.ledger import read

TOKEN = "a" * 64
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@pytest.fixture(scope="module")
def head() -> Iterator[SimpleNamespace]:
    """Start a head whose user has a home of its own."""
    with tempfile.TemporaryDirectory(prefix="rj", dir="/tmp") as scratch:
        home = Path(scratch) / "home"
        (home / ".ray").mkdir(parents=True)
        (home / ".ray" / "auth_token").write_text(TOKEN)
        told = {"HOME": str(home), "RAY_TMPDIR": scratch, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        told["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ports = free_ports(4)
        names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
        words = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
        words += ["--head", "--num-cpus=2", "--object-store-memory=80000000"]
        try:
            subprocess.run(
                [*RAY, "start", *words], env={**environment(), **told}, cwd=home, check=True, capture_output=True
            )
            yield SimpleNamespace(
                address=f"http://127.0.0.1:{ports[1]}", home=home, token={"HOME": str(home)}, there=told
            )
        finally:
            left = [one for one in psutil.process_iter() if scratch in spelled(one)]
            kill(left)
            psutil.wait_procs(left, timeout=10)  # else one still writes where all is deleted


def spelled(process: psutil.Process) -> str:
    try:
        return " ".join([*process.cmdline(), process.environ().get("RAY_TMPDIR", "")])
    except psutil.Error:
        return ""


def from_afar(folder: Path, head: SimpleNamespace, *flags: str) -> Driver:
    return Driver(folder, (*flags, "--address", head.address), **head.token)


def test_a_run_is_submitted_followed_and_fetched(write, tmp_path: Path, head) -> None:
    write(STEADY, budget={"trials": 2, "epochs": 3}, scheduler={"kind": "none"})
    with from_afar(tmp_path, head, "--space", "mine.yaml", "--name", "first") as driver:
        said = driver.ends(0, alone=False)
    assert "Running entrypoint for job first-" in said
    assert "Best loss" in said
    fetched, there = tmp_path / "runs" / "first", head.home / "runs" / "first"
    assert (fetched / "ledger").read_bytes() == (there / "ledger").read_bytes()
    assert (fetched / "best" / "params.yaml").exists()
    assert (there / "trials" / "t0000" / "checkpoints").exists()
    assert not (fetched / "trials" / "t0000" / "checkpoints").exists()
    job = jobs_of(head)["first"]
    assert {key: job.metadata[key] for key in ("run", "space", "params", "objective")} == {
        "run": "first", "space": "mine.yaml", "params": "lr", "objective": "min loss",
    }  # fmt: skip
    with from_afar(tmp_path, head, "--space", "mine.yaml", "--name", "first") as driver:
        assert "rejoin it with --resume first" in driver.ends(2, alone=False)
    assert (fetched / "report.html").read_bytes() == (there / "report.html").read_bytes()
    with from_afar(tmp_path, head, "--report", "first") as driver:
        said = driver.ends(0, alone=False)
    assert "first: 2 trials (2 finished)" in said
    assert "Fetched:      first-report.html" in said
    assert "<h1>first</h1>" in (tmp_path / "first-report.html").read_text()


def test_on_the_head_the_same_command_uses_the_cluster(write, tmp_path: Path, head) -> None:
    write(STEADY, budget={"trials": 2, "epochs": 2}, scheduler={"kind": "none"})
    there = {name: head.there[name] for name in ("HOME", "RAY_TMPDIR")}  # the token, and what `ray start` has left
    with Driver(tmp_path, ("--space", "mine.yaml", "--name", "r"), **there) as driver:
        assert f"a cluster of 1 machines: 2 CPUs, 0 GPUs; dashboard {head.address}" in driver.ends(0, alone=False)
    with Driver(tmp_path, ("--space", "mine.yaml", "--check", "--address", "auto"), **there) as driver:
        assert "trials at once   2 on a cluster of 1 machines" in driver.ends(0, alone=False)


def jobs_of(head: SimpleNamespace) -> dict:
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(head.address, headers={"Authorization": "Bearer " + TOKEN})
    return {job.metadata["job_name"]: job for job in client.list_jobs() if job.metadata}


def test_a_run_is_left_and_goes_on_and_is_rejoined_beside_that_of_another_user(write, tmp_path: Path, head) -> None:
    for name in ("mine", "yours", "nobodys"):
        (tmp_path / name).mkdir()
    for folder, epochs in (("mine", 2000), ("yours", 60)):  # mine must not end before it is stopped
        write(STEADY, budget={"trials": 1, "epochs": epochs}, scheduler={"kind": "none"}, fixed={"sleep": 0.3})
        for name in ("mine.yaml", "mine.py"):
            (tmp_path / folder / name).write_bytes((tmp_path / name).read_bytes())
    there, flags = head.home / "runs", ("--space", "mine.yaml", "--name")
    with (
        from_afar(tmp_path / "mine", head, *flags, "left") as driver,
        from_afar(tmp_path / "yours", head, *flags, "other") as other,
    ):
        driver.until_said("; best loss")
        driver.process.send_signal(signal.SIGINT)
        said = driver.ends(130, alone=False)
        assert f"The run goes on. Rejoin it:  {SPELLED} --resume left --address http" in said
        before = len(reports(there / "left"))
        wait_for(lambda: len(reports(there / "left")) > before)
        with from_afar(tmp_path / "mine", head, "--resume", "left") as driver:
            driver.until_said("; best loss")
            with from_afar(tmp_path / "nobodys", head, "--stop", "left") as stop:
                assert "has ended: asked" in stop.ends(0, alone=False)
            driver.ends(0, alone=False)
        other.ends(0, alone=False)
    ends = {name: replay(read(there / name)).trials["t0000"].outcome for name in ("left", "other")}
    assert ends == {"left": "killed", "other": "finished"}


def test_a_run_stands_by_its_name_on_the_jobs_page_with_its_log(write, tmp_path: Path, head) -> None:
    write(STEADY, budget={"trials": 1, "epochs": 2000}, scheduler={"kind": "none"}, fixed={"sleep": 0.5})
    with (
        from_afar(tmp_path, head, "--space", "mine.yaml", "--name", "shown") as driver,
        chromium(tmp_path / "pictures") as browser,
    ):
        browser.enter(head.address, TOKEN)
        browser.open(f"{head.address}/#/jobs")
        browser.find("//tr[contains(., 'shown') and contains(., 'RUNNING')]")
        browser.keep("jobs", "//table")
        browser.find("//tr[contains(., 'shown')]//a[contains(@href, 'jobs/')]").click()
        browser.until("Running entrypoint for job shown-")
        driver.until_said("; best loss")
        # The page reads the log again only when it is asked to; asked ever again, it never comes to show it.
        browser.find("//button[contains(translate(., 'refsh', 'REFSH'), 'REFRESH')]").click()
        browser.until("; best loss")
        browser.keep("job")
        (tmp_path / "elsewhere").mkdir()  # what works in a driver's folder is killed at its end
        with from_afar(tmp_path / "elsewhere", head, "--stop", "shown") as stop:
            stop.ends(0, alone=False)


def test_a_driver_that_died_there_goes_on_by_a_resume_from_here_with_the_code_as_it_is_now(
    write, tmp_path: Path, head
) -> None:
    run, code = head.home / "shared" / "dies", tmp_path / "below" / "mine.py"
    spec = {"budget": {"trials": 1, "epochs": 30}, "scheduler": {"kind": "none"}, "storage": str(run.parent)}
    yaml = write(STEADY, fixed={"sleep": 0.2}, **spec)
    code.parent.mkdir()
    yaml.rename(code.parent / "mine.yaml")
    (tmp_path / "mine.py").rename(code)
    with from_afar(tmp_path, head, "--space", "below/mine.yaml", "--name", "dies") as driver:
        driver.until_holds(lambda: len(reports(run)) > 3)
        kill([one for one in psutil.process_iter() if "-m tuner --space below/mine.yaml --name dies" in spelled(one)])
        driver.ends(3, alone=False)
    code.write_text(STEADY.replace('"trained"', '"mended"'))
    with Driver(tmp_path, ("--resume", "dies", "--json"), RAY_ADDRESS=head.address, **head.token) as driver:
        said = driver.ends(0, alone=False)
    assert '\n{"kind":"report"' in said
    fetched = tmp_path / "runs" / "dies"
    state = replay(read(fetched))
    assert (state.attempt, state.trials["t0000"].outcome, len(state.trials["t0000"].reports)) == (2, "finished", 30)
    log = (fetched / "trials" / "t0000" / "log.txt").read_text()
    assert "trained 3\n" in log
    assert "mended 30\n" in log
    with from_afar(tmp_path, head, "--why", "dies/t0000") as driver:
        assert "t0000" in driver.ends(0, alone=False)


@pytest.mark.parametrize(
    ("parts", "code", "said"),
    [
        ({"storage": "here"}, 2, "storage: must be an absolute folder or a URL"),
        ({"large": True}, 2, "but got 21 MiB: weights.bin (21 MiB)"),
        ({"address": "http://127.0.0.1:9"}, 3, "must be the dashboard of a Ray cluster"),
        ({"address": "https//head"}, 3, "must be a Ray cluster that answers"),
        ({"token": "b" * 64}, 3, "have the cluster's token in ~/.ray/auth_token"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_begins(
    write, tmp_path: Path, head, parts, code: int, said: str
) -> None:
    write(STEADY, budget={"trials": 1, "epochs": 1}, **({"storage": parts["storage"]} if "storage" in parts else {}))
    if "large" in parts:
        (tmp_path / "weights.bin").write_bytes(bytes(21 * 2**20))
    (tmp_path / "home" / ".ray").mkdir(parents=True)
    (tmp_path / "home" / ".ray" / "auth_token").write_text(parts.get("token", TOKEN))
    flags = ("--space", "mine.yaml", "--name", "never", "--address", parts.get("address", head.address))
    with Driver(tmp_path, flags, HOME=str(tmp_path / "home")) as driver:
        assert said in driver.ends(code)
    assert "never" not in jobs_of(head)
