"""The command line, as far as it goes without Ray."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from tuner.called import called
from tuner.cli import main, parser

FLAGS = {
    "--help", "--space", "--resume", "--report", "--name", "--set", "--check", "--local", "--address", "--json",
    "--no-dashboard", "--why", "--stop", "--replay",
}  # fmt: skip


def test_the_flags_are_these_and_no_others() -> None:
    given = {option for action in parser()._actions for option in action.option_strings if option.startswith("--")}
    assert given == FLAGS


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "x" * 101, "a b"])
def test_a_name_is_a_plain_folder_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "debug.yaml", "--name", name]) == 2
    said = capsys.readouterr().err
    assert f"--name: must be at most 100 letters, digits, dots, dashes and underscores, but got {name!r}." in said


def test_a_name_that_exists_is_refused_and_resume_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "runs" / "taken" / "ledger").write_text("a header\n")
    assert main(["--space", "debug.yaml", "--name", "taken"]) == 2
    assert "runs/taken exists. Choose another name, or go on with --resume runs/taken." in capsys.readouterr().err


@pytest.mark.parametrize("ledger", ["", "half a hea"])
def test_a_folder_whose_driver_was_killed_before_the_run_was_made(
    ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "r").mkdir(parents=True)
    (tmp_path / "runs" / "r" / "ledger").write_text(ledger)
    for flags in (["--resume", "r"], ["--report", "runs/r"], ["--stop", "r"]):
        assert main(flags) == 2
        assert "Delete runs/r, if its driver was killed before it made the run." in capsys.readouterr().err
    assert main(["--space", "debug.yaml", "--name", "r"]) == 2
    assert "Choose another name, or delete it if its driver was killed before it made the" in capsys.readouterr().err


@pytest.mark.parametrize("is_file", [True, False])
def test_nobody_is_told_to_delete_what_is_no_run(
    is_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    thesis = tmp_path / "runs" / "thesis"
    thesis.touch() if is_file else thesis.mkdir()
    assert main(["--space", "debug.yaml", "--name", "thesis"]) == 2
    assert capsys.readouterr().err.endswith("runs/thesis exists. Choose another name.\n")


@pytest.mark.parametrize("name", ["gone", 300 * "n"])
def test_a_run_that_is_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for flag in ("--resume", "--report"):
        assert main([flag, name]) == 2
        assert f"{name}: must be a run's folder, or its name under runs/, but is not." in capsys.readouterr().err


def test_check_prints_the_plan_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "resnet.yaml", "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "32 trials of up to 9 epochs of trainables.resnet:train, asha + tpe, max val_accuracy" in lines[0]
    assert any(line.startswith("trials at once") for line in lines)
    assert "  epoch     1    about 32" in lines


@pytest.mark.parametrize("flags", [["--check"], ["--name", "x/y"]])
def test_what_is_light_imports_neither_ray_nor_torch(flags: list[str]) -> None:
    code = (
        "import sys; from tuner.cli import main; main(['--space', 'debug.yaml', *sys.argv[1:]]); "
        "print({'ray', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_local_runs_in_this_very_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here_i_am.py").write_text(
        "import os\n\n\ndef train(trial, *, x: float):\n    print('PID', os.getpid())\n"
        "    for epoch in trial.epochs():\n        trial.report(loss=x)\n"
    )
    (tmp_path / "here.yaml").write_text(
        "trainable: here_i_am:train\nobjective: {metric: loss, mode: min}\nbudget: {trials: 1, epochs: 2}\n"
        "space: {x: {dist: float, low: 0, high: 1}}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["--space", "here.yaml", "--local"]) == 0
    output = capsys.readouterr().out
    assert f"PID {os.getpid()}" in output
    assert "epoch 2  loss" in output
    assert not (tmp_path / "runs").exists()
    assert "note" not in output
    assert main(["--space", "here.yaml", "--local", "--set", "resources.ranks=2"]) == 0
    assert "note: one process trains here, not 2 ranks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--resume x --name y", "--name: has no effect with --resume. With --resume go --set, --check"),
        ("--resume x --check --set a=1", "--set: has no effect with --resume --check."),
        ("--stop x --check", "--check: has no effect with --stop. With --stop go --address."),
        ("--why x/t0000 --json", "--json: has no effect with --why."),
        ("--report x --set a=1", "--set: has no effect with --report."),
        ("--space x --check --local", "--local: has no effect with --space --check."),
        ("--resume= --local", "--local: has no effect with --resume."),
        ("--space x --local --json", "--json: has no effect with --space --local."),
    ],
)
def test_no_flag_without_an_effect(flags: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "Make room there."),
        (errno.EACCES, "Call it from a folder that may be written."),
        (errno.ENAMETOOLONG, "Give fewer runs at once."),
    ],
)
def test_the_text_of_a_report_comes_although_its_page_cannot_be_written(
    number: int, fix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuner.outputs.page import write

    def broken(*words: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(write, "write", broken)
    assert main(["--report", str(ROOT / "tests" / "frozen" / "v1")]) == 3
    said = capsys.readouterr()
    assert said.out.startswith("v1: ")
    assert said.err.endswith(f": [Errno {number}] {os.strerror(number)}. {fix}\n")


def test_the_text_of_a_report_waits_for_no_library_that_draws() -> None:
    code = (
        "import sys; sys.modules['plotly'] = None\nfrom tuner.cli import main\n"
        "try: main(['--report', 'tests/frozen/v1'])\nexcept ImportError: print('no plotly')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("v1: ")
    assert lines[-1] == "no plotly"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("launch.py", "python launch.py"),
        ("../my tuner/launch.py", "python '../my tuner/launch.py'"),
        ("/venv/bin/tuner", "tuner"),
        ("/venv/lib/tuner/__main__.py", "python -m tuner"),
        ("/home/me/other/__main__.py", "tuner"),
        ("/venv/lib/ipykernel_launcher.py", "tuner"),
    ],
)
def test_people_are_told_the_command_that_they_gave(program: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "--resume", "r"])
    assert called() == said


def test_whoever_reads_the_report_may_leave() -> None:
    """As `--report RUN | head` does: what comes later has no reader, and nothing is wrong with the page."""
    code = (
        "import sys\nfrom tuner.outputs.page import write\nwrite.write = lambda *words: sys.stdin.readline()\n"
        "from tuner.cli import main\nraise SystemExit(main(['--report', 'tests/frozen/v1']))"
    )
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes) as process:
        assert process.stdin and process.stdout and process.stderr
        assert process.stdout.readline().startswith("v1: ")
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
