"""Which module is imported, and what is said of one that cannot be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tuner.slot.code import Code

from .bench import Bench, hear


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import missing_module", "cannot import user_module: ModuleNotFoundError: No module named 'missing_module'"),
        (
            "def trian(trial): pass",
            "cannot import user_module: AttributeError: module 'user_module' has no attribute 'train'",
        ),
        ("import sys\nsys.exit(2)", "cannot import user_module: SystemExit: 2"),
        ("def train(trial:", "cannot import user_module: SyntaxError: '(' was never closed (user_module.py, line 1)"),
        ("raise ValueError('x' * 100_000 + chr(0xDCFF))", None),
    ],
)
@pytest.mark.parametrize("fork", [True, False])
def test_a_module_that_cannot_be_imported_is_misuse(bench: Bench, source: str, reason: str | None, fork: bool) -> None:
    (event,) = bench.run(bench.slot(bench.code(source), fork=fork))
    assert event["event"] == "failed"
    assert event["misuse"] is True
    assert "Traceback" in event["error"]
    assert len(event["error"]) < 50_000
    assert reason is None or event["reason"] == reason


def test_a_module_that_kills_its_process_is_a_failure(bench: Bench) -> None:
    (event,) = bench.run(bench.slot("import os; os._exit(9)"))
    assert event["reason"] == "its process ended with exit code 9 while it imported the trainable"


def test_a_slot_tries_the_import_again_with_the_next_trial(bench: Bench) -> None:
    slot = bench.slot("import pathlib\nif not pathlib.Path('there').exists(): raise OSError\ndef train(trial): pass")
    assert bench.run(slot)[0]["misuse"] is True
    (bench.root / "there").touch()
    assert bench.run(slot)[0]["event"] == "returned"


@pytest.mark.parametrize("name", ["trial", "trainables", "slot", "child", "code", "checkpoint", "errors", "benchmarks"])
def test_a_module_named_like_one_of_ours_is_the_users(bench: Bench, name: str) -> None:
    assert [e["event"] for e in bench.run(bench.slot(bench.code("def train(trial): trial.report(loss=1)", name)))] == [
        "report",
        "returned",
    ]


def test_a_folder_without_init_comes_before_a_package_that_is_installed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, loss, init in (("mine", 1, False), ("installed", 2, True)):
        package = bench.root / folder / "models"
        package.mkdir(parents=True)
        (package / "small.py").write_text(f"def train(trial): trial.report(loss={loss})")
        if init:
            (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(bench.root / "installed"), *sys.path]))
    slot = bench.slot(Code(module="models.small", function="train", root=str(bench.root / "mine")))
    assert bench.run(slot)[0].get("metrics") == {"loss": 1}


@pytest.mark.parametrize("name", ["user_module", "tuner", "queue"])
def test_a_module_named_by_its_file(bench: Bench, name: str) -> None:
    code = bench.code("from tuner import Trial\nimport helper\ndef train(trial): trial.report(loss=helper.LOSS)", name)
    Path(code.root, "helper.py").write_text("LOSS = 4")
    by_file = Code(module=name, function="train", file=f"{code.root}/{name}.py", root=code.root)
    assert bench.run(bench.slot(by_file))[0].get("metrics") == {"loss": 4}


def test_the_folder_of_the_yaml_comes_before_the_current_one(bench: Bench) -> None:
    code = bench.code("import helper, other\ndef train(trial): trial.report(loss=helper.LOSS, other=other.LOSS)")
    Path(code.root, "helper.py").write_text("LOSS = 1")
    (bench.root / "helper.py").write_text("LOSS = 2")
    (bench.root / "other.py").write_text("LOSS = 3")
    assert bench.run(bench.slot(code))[0].get("metrics") == {"loss": 1, "other": 3}


def test_relative_paths_start_from_the_folder_of_the_command(bench: Bench) -> None:
    assert bench.once("trial.report(loss=len(os.getcwd()))")[0]["metrics"] == {"loss": len(str(bench.root))}


def test_half_a_module_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "half_module.py").write_text("def train(): return 1\nraise ValueError('half')")
    code = Code(module="half_module", function="train", file=str(tmp_path / "half_module.py"))
    for _ in range(2):
        with pytest.raises(ValueError, match="half"):
            code.load()


def test_dataclasses_and_workers_find_a_module_named_by_its_file(bench: Bench) -> None:
    """Both look into `sys.modules`; a worker that is spawned imports it by its name."""
    code = bench.code(
        """
        from __future__ import annotations
        import multiprocessing
        from dataclasses import dataclass
        @dataclass
        class Loss:
            value: float
        def train(trial):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                (loss,) = pool.map(Loss, [0.5])
            trial.report(loss=loss.value)
        """
    )
    by_file = Code(module="user_module", function="train", file=f"{code.root}/user_module.py", root=code.root)
    slot = bench.slot(by_file)
    slot.begin(bench.assignment())
    assert hear(slot).get("metrics") == {"loss": 0.5}
