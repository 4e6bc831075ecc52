"""The user's terminal is kept clear, and comes back as it was."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.outputs.console import aside, console

HOLDER = """
import os, sys
from pathlib import Path
from tuner.outputs.console import aside, console
try:
    with aside(Path(sys.argv[1])) as terminal:
        print("python out")
        print("python err", file=sys.stderr)
        os.write(1, b"raw out\\n")
        os.write(2, b"raw err\\n")
        os.system("echo child")
        console(terminal.out).print("to the user")
        print("as an error", file=terminal.err)
        {inside}
except RuntimeError:
    pass
print("after")
os.write(1, b"raw after\\n")
"""
LOGGED = {"python out", "python err", "raw out", "raw err", "child"}


def hold(tmp_path: Path, inside: str = "pass", **kwargs: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", HOLDER.replace("{inside}", inside), str(tmp_path / "log")]
    root = Path(__file__).parents[2]
    return subprocess.run(words, text=True, cwd=root, check=True, **{"capture_output": True, **kwargs})  # type: ignore


@pytest.mark.parametrize("inside", ["pass", "raise RuntimeError", "sys.stdout = None"])
def test_descriptors_are_moved_and_come_back(tmp_path: Path, inside: str) -> None:
    done = hold(tmp_path, inside)
    assert sorted(done.stdout.splitlines()) == ["after", "raw after", "to the user"]
    assert done.stderr.splitlines() == ["as an error"]
    assert set((tmp_path / "log").read_text().splitlines()) == LOGGED


def test_closed_descriptors(tmp_path: Path) -> None:
    """As `launch.py >&- 2>&-` starts it."""
    code = "import os, sys\nos.close(1); os.close(2); sys.stdout = sys.stderr = None\n" + HOLDER
    code = code.replace("{inside}", "pass").replace('os.write(1, b"raw after\\n")', "")
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "log")], cwd=root, check=True)
    assert set((tmp_path / "log").read_text().splitlines()) >= LOGGED


def test_a_notebook_sees_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter's stdout is an object of its own, with no descriptor, or another one than 1."""
    cell, errors = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", cell)
    monkeypatch.setattr(sys, "stderr", errors)
    before = len(os.listdir("/proc/self/fd"))
    with aside(tmp_path / "log") as terminal:
        print("hidden")
        os.write(1, b"raw\n")
        console(terminal.out).print("to the user")
        print("as an error", file=terminal.err)
    assert (sys.stdout, sys.stderr) == (cell, errors)
    assert (cell.getvalue(), errors.getvalue()) == ("to the user\n", "as an error\n")
    assert sorted((tmp_path / "log").read_text().split()) == ["hidden", "raw"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_stream_that_was_redirected_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "mine").open("w") as mine:
        monkeypatch.setattr(sys, "stdout", mine)
        with aside(tmp_path / "log") as terminal:
            print("hidden")
            print("to the user", file=terminal.out)
    assert (tmp_path / "mine").read_text() == "to the user\n"


def test_loggers_are_moved_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    handler = logging.StreamHandler(errors)
    logging.root.addHandler(handler)
    try:
        with aside(tmp_path / "log"):
            logging.root.error("hidden")
        logging.root.error("seen")
    finally:
        logging.root.removeHandler(handler)
    assert errors.getvalue() == "seen\n"
    assert (tmp_path / "log").read_text() == "hidden\n"


def test_a_variable_does_not_make_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not console(io.StringIO()).is_terminal


def test_an_old_encoding_loses_signs_and_no_run(tmp_path: Path) -> None:
    done = hold(tmp_path, 'print("…", file=terminal.out)', env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert "?" in done.stdout.splitlines()
