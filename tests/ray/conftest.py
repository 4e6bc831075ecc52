"""Real runs: the command line as a user types it, in a folder of its own."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from seaweed import Seaweed, started
from support import command, environment

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    def call(*flags: str, code: int | None = 0, folder: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*flags), cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
        )
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a trainable and its YAML; returns the YAML's path."""

    def make(code: str, name: str = "mine", **sections: object) -> Path:
        (tmp_path / f"{name}.py").write_text(code)
        spec = {
            "trainable": f"{name}:train",
            "objective": {"metric": "loss", "mode": "min"},
            "budget": {"trials": 6, "epochs": 4},
            "space": {"lr": {"dist": "float", "low": 0.001, "high": 1.0, "log": True}},
            "search": {"kind": "random"},
            **sections,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(spec))
        return path

    return make


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """Tell how often a run is killed."""
    return int(request.config.getoption("--kills"))


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """Start a real S3 server."""
    with started(tmp_path_factory.mktemp("seaweed")) as made:
        yield made


@pytest.fixture
def server(seaweed: Seaweed) -> Seaweed:
    """Have a real S3 server on which no run lies."""
    seaweed.clear()
    return seaweed
