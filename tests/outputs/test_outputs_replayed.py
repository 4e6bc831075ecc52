"""A run beside what it would have been, as users see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import ROOT

from tuner.cli import main

from .runs_made import experiment, simulated

ASHA = {"kind": "asha", "reduction_factor": 3}


def said(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[list[str], str]:
    assert main(["--replay", *flags]) == 0
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err


def test_the_table_stands_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(simulated(tmp_path / "r", experiment()))
    lines, _ = said(capsys, folder, "--set", "scheduler.kind=asha", "--set", "scheduler.reduction_factor=4")
    assert lines[0].endswith("12 trials, 2 at once; what if scheduler.kind=asha, scheduler.reduction_factor=4")
    assert lines[2].split("  ")[-1].strip() == "what if"
    rows = {" ".join(words[:-3]): words[-3:] for words in (line.split() for line in lines[3:])}
    assert rows["epochs trained"][:2] == ["108", "108"]
    assert int(rows["epochs trained"][2]) < 108
    assert rows["trials begun"] == ["12", "12", "12"]
    assert rows["on unrecorded epochs"] == ["0", "0", "0"]
    assert lines[-1] == "All that the other settings would have trained is recorded."


def test_it_says_that_settings_mean_asha_where_the_run_had_auto(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(simulated(tmp_path / "r", experiment(search={"kind": "auto"}, scheduler={"kind": "auto"})))
    lines, table = said(capsys, folder, "--set", "scheduler.reduction_factor=4", "--json")
    settings = ["scheduler.kind=asha", "scheduler.reduction_factor=4"]
    assert json.loads(lines[0])["set"] == settings
    assert f"what if {', '.join(settings)}" in table


def test_where_curves_end_too_early_it_says_what_hangs_on_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(simulated(tmp_path / "r", experiment(scheduler=ASHA)))
    lines, _ = said(capsys, folder, "--set", "scheduler.reduction_factor=1.5")
    assert "epochs are not recorded: " in lines[-3]
    assert lines[-1].startswith("If all of them were worse than any that is recorded: score 0.")
    assert all(len(line) <= 120 for line in lines[:-1])


def test_a_program_gets_one_line_and_people_the_table_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(simulated(tmp_path / "r", experiment()))
    lines, table = said(capsys, folder, "--set", "scheduler.kind=median", "--json")
    (found,) = map(json.loads, lines)
    assert found["kind"] == "replayed"
    assert (found["set"], found["workers"], found["trials"]) == (["scheduler.kind=median"], 2, 12)
    assert found["was"]["epochs"] == 108 > found["what_if"]["epochs"]
    assert found["same"]["value"] == found["was"]["value"]
    assert found["worst"] == found["best"] == found["what_if"]
    assert "what if" in table


def test_a_run_of_an_earlier_version_and_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(ROOT / "tests" / "frozen" / "v1")
    lines, _ = said(capsys, folder, "--set", "scheduler.kind=none")
    assert lines[0].startswith("v1: 6 trials, ")
    assert main(["--replay", folder]) == 2
    assert "--replay: must be given other settings than those of the run" in capsys.readouterr().err
    assert main(["--replay", folder, "--set", "scheduler.kind=none", "--name", "x"]) == 2
    assert "--name: has no effect with --replay. With --replay go --set, --json." in capsys.readouterr().err
