"""`experiment.yaml` loads again, from any folder, as the very experiment that it came from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuner.outputs import experiment as outputs
from tuner.spec.load import Loaded, from_mapping, load

from .runs_made import MIXED, USUAL, trainable

ROOT = Path(__file__).parents[2]
AWKWARD = ["1e-4", "no", "on", "~", "null", ".nan", "0x10", "01", "1_000", "", " x", "a: b", "#c", "é\n", "12:30", "="]


def loaded(home: Path, **parts: Any) -> Loaded:
    names = [*parts.get("space", USUAL["space"]), *parts.get("fixed", {})]
    trainable(home, names)
    return from_mapping({**USUAL, **parts}, home)


def again(made: Loaded, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """Write the file, go elsewhere, and load it."""
    folder.mkdir(parents=True)
    outputs.write(folder, made.experiment, made.file.parent)
    (elsewhere := folder.parent / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    return load(folder / "experiment.yaml")


def without_refs(made: Loaded) -> dict[str, Any]:
    return {key: value for key, value in made.experiment.model_dump().items() if key not in ("trainable", "test")}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"space": MIXED, "search": {"kind": "tpe", "seed": 4}, "scheduler": {"kind": "asha"}, "seed": 7},
        {"fixed": {"a": None, "b": AWKWARD, "c": {"null": None, "1e-4": ["no", {}]}, "d": 1e-05, "e": 1e300}},
        {"space": {"x": {"dist": "choice", "values": AWKWARD}, "y": {"dist": "int", "low": 0, "high": 3,
                                                                     "when": {"x": ["no", "~"]}}}},
        {"scheduler": {"kind": "pbt", "interval_epochs": 2, "mutate": ["x"]}, "budget": {"trials": 4, "epochs": 4}},
        {"start": {"points": [{"x": 0.1}]}, "budget": {"trials": 4, "epochs": 4, "hours": 1.5, "target": 0.9}},
        {"resources": {"cpus": 2, "max_trials": 1}, "checkpoint": {"every": 2}, "storage": "else where"},
    ],
    ids=["usual", "conditions", "awkward", "choices", "pbt", "limits", "resources"],
)  # fmt: skip
def test_it_loads_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any]) -> None:
    made = loaded(tmp_path / "home", **parts)
    second = again(made, tmp_path / "run", monkeypatch)
    assert without_refs(second) == without_refs(made)


@pytest.mark.parametrize("file", sorted((ROOT / "search_spaces").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_shipped_files_load_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    made = load(file)
    assert again(made, tmp_path / "run", monkeypatch).experiment == made.experiment


@pytest.mark.parametrize("ref", ["train:train", "train.py:train", "../code/train.py:train"])
def test_functions_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str) -> None:
    (home := tmp_path / "home").mkdir()
    file = trainable(tmp_path / "code" if ".." in ref else home, ["x"])
    made = from_mapping({**USUAL, "trainable": ref, "test": ref}, home)
    second = again(made, tmp_path / "run", monkeypatch)
    assert second.trainable.file == file
    assert second.test is not None
    assert second.test.file == file


def test_a_module_of_a_package_says_where_it_was_found(tmp_path: Path) -> None:
    """A file in a package cannot be named by its path: its own relative imports would fail."""
    trainable(tmp_path / "home" / "lab", ["x"])
    (tmp_path / "home" / "lab" / "__init__.py").touch()
    made = from_mapping({**USUAL, "trainable": "lab.train:train"}, tmp_path / "home")
    (folder := tmp_path / "run").mkdir()
    outputs.write(folder, made.experiment, tmp_path / "home")
    text = (folder / "experiment.yaml").read_text()
    assert yaml.safe_load(text)["trainable"] == "lab.train:train"
    assert f"# lab.train:train was found in {tmp_path / 'home'}\n" in text


def test_the_head_says_what_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = loaded(tmp_path)
    (folder := tmp_path / "runs" / "my run").mkdir(parents=True)
    outputs.write(folder, made.experiment, tmp_path)
    head = [line for line in (folder / "experiment.yaml").read_text().splitlines() if line.startswith("#")]
    assert "#   tuner --space 'runs/my run/experiment.yaml'" in head
    assert "# git commit: none" in head
    assert any(line.startswith("# Made 2") for line in head)
    assert {"# python", "# ray", "# torch", "# optuna"} <= {line.rpartition(" ")[0] for line in head}


def test_what_the_run_was_begun_with_stays_when_the_file_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, folder = loaded(tmp_path), tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    texts = []
    for sha in ("first", "second", "third"):
        monkeypatch.setattr(outputs, "commit", lambda sha=sha: sha)
        outputs.write(folder, made.experiment, made.file.parent)
        texts.append((folder / "experiment.yaml").read_text())
    begun = texts[0].splitlines()
    begun = begun[: next(i for i, line in enumerate(begun) if not line.startswith("#"))]
    assert "# git commit: first" in begun
    for text, sha in zip(texts[1:], ("second", "third"), strict=True):
        assert text.startswith("\n".join(begun))
        assert text.count("# Written again ") == 1
        assert text.count(f", at git commit {sha}") == 1
        assert text.count("git commit: ") == 1


def test_the_commit_says_whether_files_were_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "file").write_text("1")
    for words in (["init", "-q"], ["add", "file"], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *words], check=True)
    sha = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert outputs.commit() == sha
    (tmp_path / "file").write_text("2")
    assert outputs.commit() == f"{sha} (and changes)"
