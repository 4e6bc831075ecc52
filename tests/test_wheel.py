"""The wheel, unpacked far from the clone: it finds what is shipped in it, and hides nothing of the user's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT

pytestmark = pytest.mark.slow

Command = Callable[..., str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it alone; what it needs comes from the environment of the tests."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip"]
    # From a copy, since setuptools builds in the folder of the sources.
    source = tmp_path_factory.mktemp("source") / "tuner"
    subprocess.run(["git", "clone", "-q", ROOT, source], check=True)
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", wheels, source], check=True)
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, *wheels.glob("tuner-*.whl")], check=True)
    return site


@pytest.fixture
def command(site: Path, tmp_path: Path) -> Command:
    """Run `python -m tuner` with the installed package in an empty folder; returns what it printed."""

    def run(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run(
            [sys.executable, "-m", "tuner", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_shipped_experiment_is_found_with_its_trainable_and_its_data(command: Command, tmp_path: Path) -> None:
    assert "trainables.resnet:train" in command("--space", "resnet.yaml", "--check")
    assert "epoch 1" in command("--space", "mlp.yaml", "--local", "--set", "budget.epochs=1")


def test_it_is_the_installed_package_that_runs(site: Path, tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import tuner; print(tuner.__file__)"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert Path(told.strip()).is_relative_to(site)


@pytest.mark.parametrize("package", [True, False])
def test_the_installed_trainables_hide_no_folder_of_that_name(command: Command, tmp_path: Path, package: bool) -> None:
    folder = tmp_path / "trainables"
    folder.mkdir()
    (folder / "toy.py").write_text("def train(trial, *, mine: float):\n    trial.report(score=7 * mine)\n")
    if package:
        (folder / "__init__.py").touch()
    (tmp_path / "my.yaml").write_text(
        "trainable: trainables.toy:train\nobjective: {metric: score, mode: max}\n"
        "budget: {trials: 1, epochs: 1}\nspace: {mine: {dist: choice, values: [6]}}\n"
    )
    assert "score 42" in command("--space", "my.yaml", "--local")
