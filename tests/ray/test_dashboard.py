"""What people find in Ray's dashboard, in Prometheus and on the Grafana board while a run goes on."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from browser import Browser, chromium
from hosts import STEADY, Driver
from support import ROOT, records, reports, wait_for

from tuner.core.records import Ended, Record, Report, Suggested

NAME = "steady"
TITLE = re.compile(rf"ray::{NAME} slot (\d+): (t\d+) epoch (\d+)/12 loss=(\S+) lr=(\S+)")
BOARD = json.loads((ROOT / "cluster" / "grafana.json").read_text())
SPEC = {
    "trainable": "mine:train",
    "objective": {"metric": "loss", "mode": "min"},
    "budget": {"trials": 500, "epochs": 12},
    "space": {"lr": {"dist": "float", "low": 0.1, "high": 1.0, "log": True}},
    "fixed": {"sleep": 1.5},
    "search": {"kind": "random"},
    "scheduler": {"kind": "asha", "grace_epochs": 6},
    "resources": {"cpus": 1, "max_trials": 2},
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Start a run that outlasts the tests."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "mine.py").write_text(STEADY)
    (folder / "mine.yaml").write_text(yaml.safe_dump(SPEC))
    flags = ("--space", "mine.yaml", "--name", NAME)
    more = {"OMP_NUM_THREADS": "1", "RAY_metrics_report_interval_ms": "2000"}  # instead of 10 s
    with Driver(folder, flags, run=folder / "runs" / NAME, **more) as driver:
        driver.until(2)
        yield driver


@pytest.fixture(scope="module")
def prometheus(driver: Driver) -> Iterator[str]:
    """Start a Prometheus with the project's own file; gives its address."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Debian's package prometheus is not installed here")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [program, "--config.file=cluster/prometheus.yaml", f"--web.listen-address={address}"]
    with subprocess.Popen(
        [*words, f"--storage.tsdb.path={driver.folder / 'tsdb'}"], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        yield f"http://{address}"
        process.terminate()


@pytest.fixture(scope="module")
def browser(driver: Driver) -> Iterator[Browser]:
    """Open the dashboard, and give it the token that it asks for."""
    with chromium(driver.folder / "pictures") as browser:
        browser.enter(dashboard(driver), (Path.home() / ".ray" / "auth_token").read_text().strip())
        yield browser


def dashboard(driver: Driver) -> str:
    found = re.search(r"dashboard (http://\S+)", driver.said())
    assert found, driver.said()
    return found[1]


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    """Ask Prometheus for the present values; none while it starts."""
    try:
        with urllib.request.urlopen(f"{prometheus}/api/v1/query?query={urllib.parse.quote(query)}") as answer:
            return list(json.load(answer)["data"]["result"])
    except OSError:
        return []


def queries() -> list[str]:
    return [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def of_kind(driver: Driver, kind: type[Record]) -> list[Any]:
    return [record for record in records(driver.run) if isinstance(record, kind)]


def test_nothing_listens_to_other_machines(driver: Driver) -> None:
    """Neither the dashboard, nor the metrics, which need no token, nor Ray itself."""
    found = [
        each.laddr.ip
        for process in [psutil.Process(driver.pid), *driver.below()]
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert len(found) > 8
    assert set(found) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


@pytest.mark.parametrize("query", queries())
def test_every_query_of_the_board_gives_data(prometheus: str, query: str) -> None:
    wait_for(lambda: ask(prometheus, query.replace("$run", NAME)), 90)


def test_the_board_lets_choose_among_runs(prometheus: str) -> None:
    variable = next(one for one in BOARD["templating"]["list"] if one["name"] == "run")
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
    wait_for(lambda: any(one["metric"][label] == NAME for one in ask(prometheus, metric)))


def test_gauges_tell_what_the_ledger_holds(prometheus: str, driver: Driver) -> None:
    shown: list[dict[str, Any]] = []

    def both_slots_are() -> bool:
        shown[:] = ask(prometheus, f'ray_tuner_trial_metric{{run="{NAME}"}}')
        return {one["metric"]["slot"] for one in shown} == {"0", "1"}

    wait_for(both_slots_are)
    for one in shown:
        heard = [report.metrics["loss"] for report in reports(driver.run) if report.trial == one["metric"]["trial"]]
        assert any(float(one["value"][1]) == pytest.approx(loss) for loss in heard)


def test_gauges_of_an_ended_trial_go_away(prometheus: str, driver: Driver) -> None:
    def shown() -> set[str]:
        return {one["metric"]["trial"] for one in ask(prometheus, f'ray_tuner_trial_epoch{{run="{NAME}"}}')}

    def ended() -> set[str]:
        by_record = {record.trial for record in of_kind(driver, Ended)}
        return by_record | {one.trial for one in of_kind(driver, Report) if one.decision.action == "end"}

    before = ended()
    wait_for(lambda: shown() & (ended() - before))  # one that has just ended is there still
    one = sorted(shown() & (ended() - before) or ended() - before)[0]
    wait_for(lambda: one not in shown())
    wait_for(shown)


def test_the_cluster_page_tells_what_each_slot_is_doing(browser: Browser, driver: Driver) -> None:
    browser.open(f"{dashboard(driver)}/#/cluster")
    shown: list[tuple[str, ...]] = []

    def both_slots_are() -> bool:
        shown[:] = TITLE.findall(browser.text())
        return {one[0] for one in shown} == {"0", "1"}

    wait_for(both_slots_are)
    browser.keep("cluster", "//table")
    params = {one.trial: one.params for one in of_kind(driver, Suggested)}
    losses = {(one.trial, one.epoch): one.metrics["loss"] for one in reports(driver.run)}
    for _, trial, epoch, loss, lr in shown:
        assert lr == f"{params[trial]['lr']:.4g}"
        assert loss == f"{losses[trial, int(epoch)]:.4g}"


def test_the_actors_page_names_run_and_slot_and_the_actor_s_log_its_trials(browser: Browser, driver: Driver) -> None:
    browser.open(f"{dashboard(driver)}/#/actors")
    place = f"{NAME} slot 0 on {socket.gethostname()}"
    browser.until(place)
    assert f"{NAME} slot 1 on" in browser.text()
    browser.keep("actors", "//table")
    browser.find(f"//tr[contains(., '{place}')]//a[contains(@href, '/actors/')]").click()
    browser.find("//button[@role='tab'][contains(translate(., 'stdout', 'STDOUT'), 'STDOUT')]").click()
    said = browser.until("begins from nothing: lr=")
    wait_for(lambda: re.search(r"t\d+ ends, epoch \d+/12 loss=\S+: (finished|stopped)", _anew(browser)))
    browser.keep("actor")
    first = re.search(r"(t\d+) begins from nothing: lr=(\S+)", said)
    params = {one.trial: one.params for one in of_kind(driver, Suggested)}
    assert first and first[2] == f"{params[first[1]]['lr']:.4g}"


def _anew(browser: Browser) -> str:
    """Have the page read the log again, which it does only when it is asked to."""
    browser.find("//button[contains(translate(., 'refsh', 'REFSH'), 'REFRESH')]").click()
    return browser.until("begins from nothing")


def test_the_log_of_a_trial_opens_from_the_logs_page(browser: Browser, driver: Driver) -> None:
    browser.open(f"{dashboard(driver)}/#/logs")
    browser.find("//a[contains(., 'Node ID')]").click()
    for name in ("tuner/", f"{NAME}/", "t0000-log.txt"):
        browser.find(f"//a[normalize-space(.)='{name}']").click()
    browser.until("trained 1")
    browser.keep("log")


def test_prometheus_draws_the_metric_of_each_trial(browser: Browser, prometheus: str) -> None:
    wait_for(lambda: ask(prometheus, f'sum(count_over_time(ray_tuner_trial_metric{{run="{NAME}"}}[2m])) > 20'))
    query = urllib.parse.quote(f'sum by (run, slot, trial, metric) (ray_tuner_trial_metric{{run="{NAME}"}})')
    browser.open(f"{prometheus}/graph?g0.expr={query}&g0.tab=0&g0.range_input=1m")
    browser.until('trial="t0')
    browser.keep("prometheus")


def test_slots_keep_their_number_while_trials_come_and_go(driver: Driver) -> None:
    wait_for(lambda: len({report.trial for report in reports(driver.run)}) >= 4)
    wait_for(lambda: _slots(driver) == ["0", "1"])


def _slots(driver: Driver) -> list[str]:
    """List the numbers of the slots by the names of their processes, which change with what they do."""
    alive = [process for process in driver.below(f"{NAME} slot") if process.status() != psutil.STATUS_ZOMBIE]
    named = [" ".join(process.cmdline()).partition(f"{NAME} slot ")[2] for process in alive]
    return sorted(name[:1] for name in named)
