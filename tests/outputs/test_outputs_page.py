"""The page of a run, as far as it can be read without a browser."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tuner.cli import main
from tuner.core.lines import to_json
from tuner.core.records import Asked, Ended, Lost, Record, Report, Session, Tick
from tuner.errors import UserError
from tuner.outputs import ending
from tuner.outputs.page import compare, html, population, progress, searched, write
from tuner.outputs.page.history import History, bounds, thinned
from tuner.outputs.page.page import SECTIONS, page
from tuner.outputs.page.stints import lanes, stints
from tuner.storage.segments import Segments
from tuner.storage.url import Objects

from .runs_made import MIXED, by_hand, experiment, failed, reported, simulated, suggested, written

PBT: dict[str, Any] = {
    "space": {"lr": MIXED["lr"], "width": {"dist": "choice", "values": [[8], [16, 32]]}},
    "budget": {"trials": 8, "epochs": 12},
    "scheduler": {"kind": "pbt", "interval_epochs": 2},
}


def timed(folder: Path, records: Iterable[Record]) -> Path:
    """Write records with the times that they have."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [to_json(record).encode() for record in records]
    (folder / "ledger").write_bytes(b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in lines))
    return folder


def at(moment: float, record: Any, **more: Any) -> Any:
    return replace(record, time=1000.0 + moment, **more)


def figures(text: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]


def made(folder: Path) -> str:
    text = page(History(folder))
    assert "could not be made" not in text
    return text


@pytest.fixture(scope="module")
def asha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = experiment(
        space=MIXED, scheduler={"kind": "asha"}, budget={"trials": 40, "epochs": 9}, search={"kind": "tpe"}
    )
    return simulated(tmp_path_factory.mktemp("runs") / "asha", spec)


@pytest.fixture(scope="module")
def pbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("runs") / "pbt", experiment(**PBT))


def test_every_figure_is_one_that_plotly_knows(asha: Path, pbt: Path, tmp_path: Path) -> None:
    import plotly.graph_objects as go

    wrong = written(tmp_path / "wrong", by_hand(
        experiment(), suggested("t0000", x=0.1), reported("t0000", 1, score=1.0, end="stopped"),
        suggested("t0001", x=0.1), reported("t0001", 1, score=0.5), failed("t0001", "ValueError: x", "Traceback"),
    ))  # fmt: skip
    found = [figure for folder in (asha, pbt, wrong) for figure in figures(made(folder))]
    found += figures(compare.page(write.read([asha, pbt])))
    assert len(found) > 35
    for figure in found:
        go.Figure(json.loads(re.sub(r'"@[a-z]+"', '"red"', json.dumps(figure))))


def test_every_section_is_there(asha: Path, pbt: Path) -> None:
    for folder in (asha, pbt):
        text = made(folder)
        anchors = re.findall(r'<section id="(\w+)">', text)
        left_out = {"seeds", "front", *(() if folder == pbt else ("population",))}
        assert anchors == [one for _, one, _ in SECTIONS if one not in left_out]
        assert not re.search(r' (src|href)="(?!#)', re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], ["No trial has begun.", "No trial has reported a finite value", "No trial has ended yet."]),
        ([suggested("t0000", x=0.5)], ["The run is not over: 1 trials run", "No trial failed."]),
        ([suggested("t0000", x=0.5), reported("t0000", 1, score=math.nan)], ["no curves", "No trial has a finite"]),
        ([suggested("t0000", x=0.5), reported("t0000", 1, score=0.5)],
         ["lines begin to tell something with the second", "importance is told from 10 on", "No trial used a GPU."]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["asha", "pbt"])
def test_where_there_is_not_enough_to_show_a_sentence_says_so(
    tmp_path: Path, records: list[Record], said: list[str], kind: str
) -> None:
    text = made(written(tmp_path / "run", by_hand(experiment(scheduler={"kind": kind}), *records)))
    for one in said:
        assert one in text
    if not any(isinstance(record, Report) for record in records):
        assert figures(text) == [] or all(figure["data"] for figure in figures(text))


def test_one_param_and_equal_values_are_not_weighed(tmp_path: Path) -> None:
    records = [r for i in range(12) for r in (suggested(f"t{i:04}", x=i / 12), reported(f"t{i:04}", 1, score=0.5))]
    one = History(written(tmp_path / "one", by_hand(experiment(budget={"trials": 20, "epochs": 2}), *records)))
    assert "Only one param was varied" in searched.importance(one)
    spec = experiment(space={"x": MIXED["lr"], "y": MIXED["layers"]}, budget={"trials": 20, "epochs": 2})
    two = by_hand(spec, *[replace(r, params={"x": 0.1, "y": i % 8 + 1}) if hasattr(r, "seen") else r
                          for i, r in enumerate(records)])  # fmt: skip
    assert "Only one param was varied" in searched.importance(History(written(tmp_path / "two", two)))


def test_what_users_wrote_is_escaped_for_the_page_and_for_plotly(tmp_path: Path) -> None:
    evil = '<img src=x onerror="alert(1)"></script>'
    values = [evil, ["</script>"]]
    spec = experiment(
        objective={"metric": evil, "mode": "min"}, budget={"trials": 12, "epochs": 2}, fixed={"evil": evil},
        space={"x": {"dist": "float", "low": 0, "high": 1}, "kind": {"dist": "choice", "values": values}},
    )  # fmt: skip
    records = [
        record
        for i in range(12)
        for record in (
            suggested(f"t{i:04}", x=i / 12, kind=values[i % 2]),
            reported(f"t{i:04}", 1, **{evil: float(i)}),
            failed(f"t{i:04}", f"{evil}: {evil}", evil),
        )
    ]
    text = made(written(tmp_path / "run", by_hand(spec, *records)))
    assert "<img" not in text.replace(html.HERE.joinpath("page.js").read_text(), "")
    assert len(figures(text)) > 8
    shown = json.dumps(figures(text))
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_trials_that_were_stopped_early_count_and_a_choice_may_be_a_list(asha: Path) -> None:
    history = History(asha)
    rows = searched.valued(history)
    stopped = [row for row in rows if row.state == "stopped"]
    study = searched._study(history, rows)
    assert len(study.trials) == len(rows) > len(stopped) > 10
    assert all(trial.state.name == "COMPLETE" for trial in study.trials)
    assert [trial.value for trial in study.trials] == [row.value for row in rows]
    assert {trial.params["widths"] for trial in study.trials} == {"[8, 16]", "[16, [32]]", "null"}
    assert any("momentum" not in trial.params for trial in study.trials)
    weighed = searched.importance(history)
    assert f"by fANOVA over {len(rows)} trials. It cannot weigh momentum, nesterov" in weighed


def test_stints_tell_who_did_what_and_who_was_idle_when(tmp_path: Path) -> None:
    def epoch(moment: float, worker: str, trial: str, number: int, **more: Any) -> Record:
        return at(moment, reported(trial, number, score=0.1, **more), worker=worker, node="n", seconds=2.0)

    records = by_hand(
        experiment(),
        at(0, suggested("t0000", x=0.1)), at(0, suggested("t0001", x=0.2)), at(0, suggested("t0002", x=0.3)),
        epoch(3, "a", "t0000", 1), epoch(4, "b", "t0001", 1),
        epoch(5, "a", "t0000", 2, end="stopped"),
        at(7, Lost(trial="t0001", reason="killed")),
        epoch(10, "a", "t0002", 1),
        at(11, Asked(trial="t0002")),
        at(12, suggested("t0003", x=0.4)),
        at(20, Session(attempt=2, host="h", pid=2, slots=2, versions={})),
        epoch(23, "c", "t0001", 2),
        at(25, Ended(trial="t0001", outcome="failed", reason="x")),
        epoch(26, "a", "t0003", 1),
        at(27, Tick(elapsed=1.0)),
    )  # fmt: skip
    records[1] = at(0, records[1])
    history = History(timed(tmp_path / "run", records))
    found = [(s.trial, s.lane, s.begin, s.end, s.epochs, s.became) for s in stints(history)]
    # The second session begins 12 seconds into the run: what lies between two sessions is not counted.
    assert found == [
        ("t0000", "a", 1.0, 5.0, 2, "stopped"),
        ("t0001", "b", 2.0, 7.0, 1, "lost"),
        ("t0002", "a", 8.0, 10.0, 1, "killed"),
        ("t0001", "c", 13.0, 17.0, 1, "failed"),
        ("t0003", "a", 16.0, 18.0, 1, "stopped"),
    ]
    a = next(lane for lane in lanes(stints(history), history.run.elapsed) if lane.name == "a")
    assert (a.trials, a.epochs, a.busy) == (3, 4, 8.0)
    assert a.idle == [(5.0, 8.0), (10.0, 16.0), (18.0, 19.0)]


def test_the_best_so_far_steps_where_a_report_was_better(asha: Path) -> None:
    history = History(asha)
    steps = history.steps
    assert [step.value for step in steps] == sorted({step.value for step in steps})
    assert steps[-1].value == history.run.best.value
    assert steps[-1].report.trial == history.run.best.trial
    for step in steps:
        values = [history.run.objective(report) for _, report in history.reports[: step.epochs]]
        assert max(values) == step.value == values[-1]


def test_the_weights_of_the_best_are_followed_to_the_donors(pbt: Path) -> None:
    history = History(pbt)
    line = population._ancestors(history, list(population._pieces(history)))
    assert line[0].begin == 0 and line[0].generation == 0
    assert (line[-1].trial, line[-1].end) == (history.run.best.trial, history.run.best.epoch)
    for before, piece in pairwise(line):
        assert piece.clone is not None
        assert (before.trial, before.end) == (piece.clone.donor, piece.clone.epoch)
        assert piece.begin == before.end
    copies = sum(report.decision.clone is not None for _, report in history.reports)
    assert copies > 2
    assert f"{copies} times a member went on from the weights of another one" in made(pbt)


def test_what_is_too_much_is_thinned_and_said(asha: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(asha)
    points = len(history.reports)
    monkeypatch.setattr(progress, "MOST_POINTS", points // 2)
    monkeypatch.setattr(progress, "MOST_DOTS", 20)
    text = progress.curves(history) + progress.best_so_far(history)
    assert f"Of {points} points about {points // 2} are drawn" in text
    assert f"Of {points} reports 20 are drawn as dots" in text
    drawn = [y for trace in figures(text)[0]["data"][:-1] for y in trace["y"] if y is not None]
    assert len(drawn) < points
    last = {round(history.run.objective(trial.reports[-1]), 4) for trial in history.run.trials.values()}
    assert last <= {round(value, 4) for value in drawn}, "the last of each curve stays"
    assert thinned(list(range(10)), 3) == [2, 5, 9]
    assert thinned([1, 2], 2) == [1, 2]


def test_curves_that_exploded_do_not_flatten_the_others() -> None:
    assert bounds([1.0, 2.0, 3.0], 1) == (None, 0)
    ends, outside = bounds([1e9, *[1 + i / 100 for i in range(100)]], -1)
    assert ends is not None
    assert ends[1] < 3
    assert 1 <= outside < 15


def test_runs_on_the_same_objective_are_compared_and_others_refused(
    asha: Path, pbt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--report", str(asha), str(pbt)]) == 0
    path = asha / "compare-asha-pbt.html"
    assert capsys.readouterr().out.splitlines()[-1] == f"Report:       {path}"
    text = path.read_text()
    for section in ("glance", "best", "leaders", "params", "settings", "versions"):
        assert f'<section id="{section}">' in text
    assert '<tr class="differs"><td>scheduler</td>' in text
    assert '<tr class="differs"><td>layers</td><td>whole, 1 to 8</td><td></td></tr>' in text
    assert "<tr><td>lr</td><td>0.0001 to 1, log</td><td>0.0001 to 1, log</td></tr>" in text
    other = simulated(tmp_path / "other", experiment(objective={"metric": "score", "mode": "min"}))
    assert main(["--report", str(asha), str(other)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "must be runs on the same objective, but got max score of asha and min score of other." in said.err


def test_the_page_lies_with_the_run_or_here_where_that_is_a_copy(
    asha: Path, pbt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write.read([asha, pbt])
    assert write.target(runs[:1]) == asha / "report.html"
    assert write.target(runs[:1], is_copy=True) == Path("asha-report.html")
    assert write.target(runs, is_copy=True) == Path("compare-asha-pbt.html")
    monkeypatch.chdir(tmp_path)
    url = f"file://{tmp_path}/far/asha"
    Segments(Objects(url)).append((asha / "ledger").read_bytes())
    assert main(["--report", url]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Report:       asha-report.html"
    assert "<h1>asha</h1>" in (tmp_path / "asha-report.html").read_text()


def test_a_run_ends_also_where_its_page_cannot_be_made(
    asha: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    folder = simulated(tmp_path / "run", experiment())
    said: list[str] = []

    def broken(history: History) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(write.page, "page", broken)
    run = ending.finish(folder, "finished", say=said.append)
    assert run.finished()
    assert (folder / "leaderboard.csv").exists()
    assert said == [f"report.html could not be written (RuntimeError: no ink); make it with --report {folder}"]
    assert "no ink" in caplog.text
    monkeypatch.undo()
    ending.finish(folder, "finished", say=said.append)
    assert (folder / "report.html").exists()
    assert len(said) == 1


def test_a_process_that_has_to_end_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, hang = simulated(tmp_path / "run", experiment()), Event()
    monkeypatch.setattr(write.page, "page", lambda history: str(hang.wait(60)))
    ending.finish(folder, "stopped", patience=0.1)
    assert (folder / "summary.json").exists()
    assert not (folder / "report.html").exists()
    hang.set()


def test_a_section_that_breaks_does_not_take_the_others_along(
    asha: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    history = History(asha)
    del history.rows[0].params["lr"]
    history.rows[0].params["strange"] = 1
    text = page(history)
    assert "This section could not be made: KeyError(&#x27;strange&#x27;)." in text
    assert "strange" in caplog.text
    assert '<section id="repeat"><h2>Repeat it</h2>' in text


def test_the_names_of_equal_runs_are_told_apart(asha: Path) -> None:
    runs = write.read([asha, asha])
    assert compare.names(runs) == [f"asha ({asha})"] * 2
    with pytest.raises(UserError):
        write.read([asha.parent / "none"])
