"""The page of simulated runs, as far as it can be read without a browser: what it shows, and where it is written."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from tuner.cli import main
from tuner.errors import UserError
from tuner.outputs import ending
from tuner.outputs.page import compare, population, progress, searched, write
from tuner.outputs.page.history import History, thinned
from tuner.outputs.page.page import SECTIONS, page
from tuner.storage.segments import Segments
from tuner.storage.url import Objects

from .pages_made import PBT, figures, made
from .runs_made import MIXED, by_hand, experiment, failed, reported, simulated, suggested, written


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
