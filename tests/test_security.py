"""SECURITY.md, claim by claim: what a stranger's YAML or checkpoint can do, and where secrets go."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest
import torch
from strangers import Runs, alone, strangers  # noqa: F401 - each test works alone
from support import ROOT

import tuner
from tuner import ship
from tuner.cli import main
from tuner.engine import cluster
from tuner.errors import UserError
from tuner.storage import write_whole
from tuner.trial import checkpoint

# ---------------------------------------------------------------------- a YAML


def test_check_imports_no_code_of_the_yaml(tmp_path: Path) -> None:
    marks = strangers(tmp_path)
    (tmp_path / "stranger.yaml").write_text(
        "trainable: stranger:train\ntest: package.inner:measure\nobjective: {metric: score, mode: max}\n"
        "budget: {trials: 2, epochs: 1}\nspace: {x: {dist: float, low: 0, high: 1}}\n"
    )
    assert main(["--space", "stranger.yaml", "--check"]) == 0
    assert not any(mark.exists() for mark in marks)
    assert main(["--space", "stranger.yaml", "--local"]) == 0
    assert marks[0].exists(), "to run it is to run its code"


def test_a_yaml_makes_no_objects_and_cannot_blow_up(tmp_path: Path) -> None:
    bomb = "\n".join(f"a{i}: &a{i} [{', '.join(['*a' + str(i - 1)] * 9 if i else ['x'])}]" for i in range(9))
    for text in ("fixed: !!python/object/apply:os.mkdir [ran]", bomb):
        (tmp_path / "stranger.yaml").write_text(text)
        with pytest.raises(UserError, match=r"YAML without tags|must hold at most 100,000 values"):
            tuner.load(tmp_path / "stranger.yaml")
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------------- a checkpoint


def pickled(path: Path, mark: Path) -> dict[str, int]:
    """Write weights that run a function where they are unpickled; returns what a manifest says of the file."""
    torch.save({"weight": Runs(mark)}, path)
    return checkpoint.file_facts(path)


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    folder, mark = tmp_path / "checkpoint", tmp_path / "ran"
    folder.mkdir()
    facts = pickled(folder / "model.pt", mark)
    (folder / "manifest.json").write_text(json.dumps({"files": {"model.pt": facts}}))
    checkpoint.read_manifest(folder)
    with pytest.raises(UserError, match="must hold tensors, numbers, strings"):
        checkpoint.load(folder, "model")
    assert not mark.exists()
    torch.load(folder / "model.pt", weights_only=False)
    assert mark.exists(), "as it would where it is unpickled"


@pytest.mark.parametrize("name", ["../secret.pt", "/etc/hostname", "files/../../secret.pt"])
def test_a_manifest_names_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "files").mkdir(parents=True)
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (folder / "manifest.json").write_text(json.dumps({"files": {name: checkpoint.file_facts(folder / name)}}))
    with pytest.raises(checkpoint.Invalid, match="must hold all its files itself"):
        checkpoint.read_manifest(folder)


def best(folder: Path, file: str, facts: dict[str, int]) -> Path:
    """Write a `best/` whose only model lies in a file."""
    known = {
        "version": 1, "trainable": "stranger:train", "home": str(folder), "trial": "t0000", "params": {}, "seed": 0,
        "metric": "score", "epochs": 1, "precision": "fp32",
        "tracked": {"model": {"kind": "module", "file": file, **facts}},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(known))
    return folder


def mine(trial: tuner.Trial) -> None:
    trial.track(model=torch.nn.Linear(1, 1))


def test_load_best_with_a_function_of_ones_own_runs_nothing_else(tmp_path: Path) -> None:
    ran, _ = strangers(tmp_path)
    mark = tmp_path / "unpickled"
    folder = best(tmp_path, "model.pt", pickled(tmp_path / "model.pt", mark))
    with pytest.raises(UserError, match="must hold tensors, numbers, strings"):
        tuner.load_best(folder, trainable=mine)
    assert not ran.exists() and not mark.exists()
    with pytest.raises(Exception, match="missing 1 required keyword-only argument"):
        tuner.load_best(folder)
    assert ran.exists(), "without it the function that the folder names is imported"


def test_load_best_reads_from_its_folder_alone(tmp_path: Path) -> None:
    (home := tmp_path / "best").mkdir()
    torch.save(torch.nn.Linear(1, 1).state_dict(), tmp_path / "secret.pt")
    facts = checkpoint.file_facts(tmp_path / "secret.pt")
    with pytest.raises(UserError, match="must be as it was written"):
        tuner.load_best(best(home, "../secret.pt", facts), trainable=mine)


# ---------------------------------------------------------------------- secrets


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


def test_only_the_user_may_read_the_token(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.engine.token import keep_private

    keep_private()
    made = token.read_text()
    assert len(made) == 64
    token.chmod(0o644)
    keep_private()
    assert (token.read_text(), token.stat().st_mode & 0o777) == (made, 0o600)
    assert list(token.parent.iterdir()) == [token]


@pytest.mark.parametrize("given", [("RAY_AUTH_TOKEN", "b" * 64), ("RAY_AUTH_MODE", "disabled")])
def test_no_token_is_made_where_ray_would_make_none(
    token: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, str]
) -> None:
    from tuner.engine.token import keep_private

    monkeypatch.setenv(*given)
    keep_private()
    assert not token.exists()


def test_files_have_the_rights_that_the_user_gives(tmp_path: Path) -> None:
    for mask, rights in ((0o077, 0o600), (0o022, 0o644)):
        before = os.umask(mask)
        try:
            write_whole(tmp_path / "file", b"x")
        finally:
            os.umask(before)
        assert (tmp_path / "file").stat().st_mode & 0o777 == rights


def test_a_job_leaves_behind_what_the_ignore_files_name(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text(".env\n")
    (tmp_path / ".rayignore").write_text("secret.txt\n")
    for name in (".env", "other.env", "secret.txt", "mine.py", "runs/r/ledger", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    shipped = {str(path.relative_to(tmp_path)) for path in ship._files(tmp_path)}
    assert shipped - {".gitignore", ".rayignore"} == {"other.env", "mine.py"}


def test_the_usage_statistics_of_ray_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cluster.QUIET:
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with cluster.prepared(dashboard=True):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


# ---------------------------------------------------------------------- the page


def held_by(file: str) -> set[str]:
    """Name the tests of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_each_claim_names_a_test_that_there_is() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    for file, test in named:
        assert test in held_by(file), f"{file}::{test}"
    for here in (f"tests/{path.name}" for path in (ROOT / "tests").glob("test_security*.py")):
        ours = held_by(here) - {"test_each_claim_names_a_test_that_there_is"}
        assert {test for file, test in named if file == here} == ours, "and each test here holds a claim"
