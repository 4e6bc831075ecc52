"""The benchmark of GPUs, where there is none: its arithmetic, its report, its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from support import ROOT, wait_for

from benchmarks import gpu
from benchmarks.gpus import claims, mps, packing, report
from benchmarks.gpus.crew import Child, Failed, Line, Skipped, ask

MACHINE = {"date": "today", "hardware": "2 cores, no GPU used"}


def cell(parts: int, rates: list[float], turn: int = 0, is_mps: bool = False, work: str = "w") -> packing.Cell:
    return {"work": work, "parts": parts, "mps": is_mps, "turn": turn, "rates": rates, "seconds": 1.0}


def test_a_ratio_is_of_all_processes_by_one_without_mps_in_the_same_round() -> None:
    cells = [
        cell(1, [10.0]), cell(2, [6.0, 9.0]), cell(1, [12.0], is_mps=True), cell(2, [9.0, 9.0], is_mps=True),
        cell(1, [20.0], turn=1), cell(2, [10.0, 12.0], turn=1), cell(1, [99.0], work="other"),
        cell(2, [5.0, 5.0], turn=2),  # without its one process, as where the time was used up
    ]  # fmt: skip
    assert packing.ratios(cells, "w", 2, False) == [1.5, 1.1]
    assert packing.ratios(cells, "w", 2, True) == [1.8]
    assert packing.ratios(cells, "w", 1, True) == [1.2]
    assert packing.ratios(cells, "w", 4, False) == []


def test_rounds_hold_every_pair_and_take_turns_in_who_is_first() -> None:
    plan = packing.Plan("cuda", 1.0, (1, 2), 2, ("a", "b"))
    everything = list(packing.order(plan, with_mps=True))
    assert len(set(everything)) == len(everything) == 2 * 2 * 2 * 2
    assert [is_mps for turn, is_mps, name, _ in everything if name == "a"] == [False] * 2 + [True] * 4 + [False] * 2
    assert {is_mps for _, is_mps, *_ in packing.order(plan, with_mps=False)} == {False}


class Clock(packing.Clock):
    """A clock that figures move on, not time."""

    def left(self) -> float:
        return self.until


def test_no_figure_is_begun_that_the_time_does_not_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0)
    clock.until = 20.0

    def one(*_: Any) -> packing.Cell:
        clock.until -= 4.0
        return {"rates": [1.0], "seconds": 4.0}

    monkeypatch.setattr(packing, "one", one)
    cells = packing.measure(packing.Plan("cuda", 1.0, (1, 2), 0), clock, mps.Daemon())
    assert len(cells) == 4  # with 4 s left a figure that takes up to 1.5 * 4 + 1 s is not begun
    assert clock.until >= 0


def measured(**more: Any) -> report.Data:
    return {"device": "cuda", "machine": MACHINE, "mps": "not there", "packing": [cell(1, [10.0])], **more}


def test_the_table_says_what_was_not_measured_and_what_failed() -> None:
    failed = {**cell(4, []), "failed": "OutOfMemoryError: CUDA | no memory"}
    del failed["rates"]
    page = report.page(measured(packing=[cell(1, [10.0]), cell(2, [5.0, 10.0]), failed, cell(4, [1.0], work="v")]))
    assert "| w | 10.0 | 1.00 (1.00) | 1.50 (1.50) | failed: OutOfMemoryError: CUDA / no memory |" in page
    assert "| v | not measured | not measured | not measured | not measured |" in page


def test_a_section_without_figures_says_why() -> None:
    page = report.page(measured(start={"failed": "no answer for 60 s"}, share={"skipped": "the time was used up"}))
    assert "## Start of a process\n\n**Failed**: no answer for 60 s.\n" in page
    assert "## Memory held to its share\n\nNot measured: the time was used up.\n" in page
    assert "## bf16 against fp32\n\nNot measured: left out.\n" in page


def test_only_a_dry_run_is_called_one() -> None:
    assert report.DRY not in report.page(measured())
    assert report.DRY in report.page(measured(device="cpu"))


def test_what_was_claimed_and_does_not_hold_is_said_loudly() -> None:
    whole = {"losses": [2.0, 1.0], "reserved": 2 << 20, "total": 8 << 20}
    told = {"whole": whole, "short": {"error": "out", "could_split": True}, "share": 0.25}
    good = report.recovery({**told, "parts": {"losses": [2.0, 1.001]}}, {})
    assert "Held to 2 MiB the trial ran out of memory" in good and "differ by 1.0e-03" in good and "**" not in good
    assert "**Not recovered**" in report.recovery({**told, "parts": {"error": "out again"}}, {})
    assert "**Not tried**" in report.recovery({**told, "short": whole, "parts": whole}, {})
    kept = {"share": 0.5, "total": 8 << 20, "held": 4 << 20, "known": True, "went_on": True, "neighbours_steps": 7}
    assert "**" not in report.share({**kept, "error": "out"}, {})
    assert "**Not held**" in report.share({**kept, "error": ""}, {})


def test_curves_apart() -> None:
    assert report.apart([1.0, 2.0], [1.0, 1.0]) == 0.5
    assert report.apart([0.0], [0.0]) == 0.0
    assert report.apart([], []) is None
    assert report.apart([1.0], [1.0, 2.0]) is None


def test_the_kept_report_holds_no_figure_that_is_not_kept() -> None:
    page = gpu.PAGE.read_text()
    if gpu.RAW.exists():
        assert page == report.page(json.loads(gpu.RAW.read_text()))
    else:
        assert "The GPU part was not run: no GPU at hand (" in page and "|" not in page and "##" not in page


@pytest.fixture
def without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run the command as on a machine without a GPU, with a folder of its own for what is kept."""
    monkeypatch.setattr(gpu, "ask", lambda *_: {"available": False})
    monkeypatch.setattr(gpu, "PAGE", tmp_path / "GPU.md")
    monkeypatch.setattr(gpu, "RAW", tmp_path / "gpu.json")
    return tmp_path


def test_without_a_gpu_the_page_says_so(without_a_gpu: Path) -> None:
    gpu.main([])
    assert "The GPU part was not run: no GPU at hand (" in (without_a_gpu / "GPU.md").read_text()
    assert not (without_a_gpu / "gpu.json").exists()


def test_without_a_gpu_earlier_figures_are_kept(without_a_gpu: Path) -> None:
    (without_a_gpu / "GPU.md").write_text("figures")
    (without_a_gpu / "gpu.json").write_text("{}")
    gpu.main([])
    assert (without_a_gpu / "GPU.md").read_text() == "figures"


@pytest.mark.parametrize("flags", [["--device", "cpu"], ["--only", "share"]])
def test_a_part_or_a_dry_run_is_not_kept(flags: list[str]) -> None:
    assert gpu.places(gpu.parse(flags)) is None
    assert gpu.places(gpu.parse([])) == (gpu.PAGE, gpu.RAW)
    assert gpu.places(gpu.parse([*flags, "--out", "x/y.md"])) == (Path("x/y.md"), Path("x/y.json"))


@pytest.mark.parametrize("flags", [["--only", "memory"], ["--parts", "2,4"]])
def test_flags_that_give_nothing_are_refused(flags: list[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.parse(flags)


def test_what_fails_is_told_and_the_next_goes_on() -> None:
    def act(error: Exception) -> None:
        raise error

    assert gpu.tried(lambda: act(Failed("gone"))) == {"failed": "gone"}
    assert gpu.tried(lambda: act(KeyError("x"))) == {"failed": "KeyError: 'x'"}
    assert gpu.tried(lambda: act(Skipped("a CPU"))) == {"skipped": "a CPU"}


def test_a_child_answers_in_an_environment_of_its_own() -> None:
    with Child(lambda line: line.say(line.hear() + 1), environment={}) as child:
        child.say(1)
        assert child.hear() == 2
    told = ask(lambda line: os.environ["CUDA_MPS_PIPE_DIRECTORY"], environment=mps.WITHOUT)
    assert told == "/nonexistent/mps" and os.environ.get("CUDA_MPS_PIPE_DIRECTORY") != told


def fails(line: Line) -> None:
    raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (fails, "RuntimeError: first line"),
        (lambda line: os._exit(7), r"its process is gone \(exit code 7\)"),
        (lambda line: line.hear(), "no answer for 0 s"),
    ],
)
def test_a_child_that_does_not_answer_is_told_apart(task: Any, reason: str) -> None:
    with pytest.raises(Failed, match=f"^{reason}$"):
        ask(task, patience=0.3 if "0 s" in reason else 60.0)


CONTROL = """#!/bin/sh
if [ "$1" = -d ]; then
    [ -z "$REFUSES" ] || { echo refused; exit 1; }
    {daemon} 300 > /dev/null 2>&1 &
    echo $! > "$CUDA_MPS_PIPE_DIRECTORY/nvidia-cuda-mps-control.pid"
else
    read word more
    case $word in
        get_server_list) echo $SERVER ;;
        quit) [ -n "$STAYS" ] || kill $(cat "$CUDA_MPS_PIPE_DIRECTORY/nvidia-cuda-mps-control.pid") ;;
    esac
fi
"""


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a control program on the path that starts a process which only waits."""
    daemon = tmp_path / "daemon" / mps.CONTROL
    daemon.parent.mkdir()
    daemon.write_bytes(Path("/bin/sleep").read_bytes())
    (tmp_path / mps.CONTROL).write_text(CONTROL.replace("{daemon}", str(daemon)))
    for path in (daemon, tmp_path / mps.CONTROL):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(mps, "PATIENCE", 0.5)


@pytest.mark.parametrize("stays", ["", "1"])
def test_the_daemon_of_mps_is_started_and_gone_afterwards(
    control: None, stays: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAYS", stays)
    with mps.served(True) as daemon:
        assert daemon.runs and not daemon.serves()
        monkeypatch.setenv("SERVER", "4711")
        assert daemon.serves()
        folder, pid = daemon.folder, daemon._pid()
        assert folder is not None and Path(f"/proc/{pid}").exists()
    assert not folder.exists()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(("chosen", "kept"), [("1", False), ("0,3", False), ("MIG-abc", True), ("", True)])
def test_the_daemon_sees_all_gpus_that_are_chosen_by_number(
    chosen: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert ("CUDA_VISIBLE_DEVICES" in mps.Daemon()._all_gpus()) == kept


def test_a_daemon_that_does_not_start_is_told(control: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSES", "1")
    with mps.served(True) as daemon:
        assert not daemon.runs and daemon.problem == "nvidia-cuda-mps-control -d: exit code 1: refused"


def test_where_there_is_no_mps_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with mps.served(True) as daemon:
        assert not daemon.runs and daemon.problem == "nvidia-cuda-mps-control is not on this machine"


ABSENT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
there = lambda name: name.split(".")[0] not in {names}
PathFinder.find_spec = classmethod(lambda cls, name, *more: find(name, *more) if there(name) else None)
"""
NAMES = {"ray", "optuna", "pydantic", "yaml", "numpy", "scipy", "pandas", "sklearn", "PIL", "rich", "tensorboardX",
         "cloudpickle", "fsspec", "psutil"}  # fmt: skip


@pytest.mark.slow
def test_it_runs_with_torch_alone(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT.replace("{names}", repr(NAMES)))
    words = ["--device", "cpu", "--seconds", "0.05", "--parts", "1,2", "--rounds", "1", "--only", "recovery,packing"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *words, "--out", str(tmp_path / "page.md")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "page.json").read_text())
    assert [sorted({c[key] for c in data["packing"]}) for key in ("parts", "mps")] == [[1, 2], [False]]
    assert all(len(c["rates"]) == c["parts"] and min(c["rates"]) > 0 for c in data["packing"])
    assert report.apart(data["recovery"]["whole"]["losses"], data["recovery"]["parts"]["losses"]) < 1e-4
    assert report.DRY in (tmp_path / "page.md").read_text()


def test_a_trial_that_runs_out_of_memory_says_whether_it_could_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the documentation")

    monkeypatch.setattr(claims.functional, "cross_entropy", no_room)
    told = ask(claims.train, "cpu", 1, 1.0)
    assert told == {"error": "CUDA out of memory. Tried to allocate 2 GiB.", "could_split": True}


def test_a_cpu_has_no_shares() -> None:
    with pytest.raises(Skipped, match="a CPU's memory has no shares"):
        claims.share("cpu")
