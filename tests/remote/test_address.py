"""Which cluster a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.cli import _address, main, parser
from tuner.engine.cluster import existing
from tuner.errors import ClusterError


def address(*flags: str) -> str | None:
    return _address(parser().parse_args(flags))


@pytest.fixture(autouse=True)
def ray_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


@pytest.mark.parametrize("flags", [["--space", "x"], ["--space", "x", "--check"], ["--resume", "x"]])
def test_a_dashboard_in_the_environment_acts_as_the_flag(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert address(*flags) is None
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert address(*flags) == "http://head:8265"
    assert address(*flags, "--address", "https://other") == "https://other"


@pytest.mark.parametrize("flags", [["--space", "x", "--local"], ["--report", "x"], ["--stop", "x"], ["--why", "x/y"]])
def test_what_needs_no_cluster_asks_none_in_the_environment(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for told in ("http://head:8265", "auto"):
        monkeypatch.setenv("RAY_ADDRESS", told)
        assert address(*flags) is None


def test_local_is_no_cluster_although_one_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379\n")
    assert existing(None) == "10.0.0.1:6379"
    assert existing("local") is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert existing(None) is None


def test_auto_is_what_ray_start_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--space", "debug.yaml", "--address", "auto"]) == 3
    assert "but got auto, and `ray start` has left none on this machine." in capsys.readouterr().err
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379\n")
    assert address("--space", "x", "--address", "auto") == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert address("--resume", "x", "--check") is None
    assert address("--resume", "x") == "10.0.0.1:6379"


def test_auto_is_understood_from_python_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="but got auto, and `ray start` has left none"):
        existing("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379\n")
    assert existing("auto") == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert existing(None) == "10.0.0.1:6379"
