"""Checkpoints: whole or not there, plain data alone, and readable from the first one on."""

from __future__ import annotations

import errno
import json
import math
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tuner import Trial
from tuner.errors import UserError
from tuner.storage import is_full
from tuner.trial import checkpoint
from tuner.trial.checkpoint import Invalid

from .study import assignment, goes_on, run


class Keeps:
    """Has any state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


class Strange:
    """Can be pickled, and must not be unpickled."""


def tracked(**objects: Any) -> Any:
    def train(trial: Trial) -> None:
        trial.track(**objects)
        for _ in trial.epochs():
            trial.report(loss=1)

    return train


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "c", {"net": {"w": torch.ones(1000)}, "trial": {}}, epoch=3, metrics={"loss": 1.0})
    return tmp_path / "c"


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checkpoint, "write_whole", lambda path, text, sync: order.extend(sorted(path.parent.rglob("*")))
    )
    order: list[Path] = []
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.txt").write_text("a")
    checkpoint.save(tmp_path / "c", {"net": {}, "other": {}}, tmp_path / "own")
    assert [path.name for path in order] == ["files", "a.txt", "net.pt", "other.pt"]


def test_a_whole_checkpoint(saved: Path) -> None:
    assert checkpoint.is_whole(saved)
    manifest = checkpoint.read_manifest(saved)
    assert (manifest["epoch"], manifest["metrics"]) == (3, {"loss": 1.0})
    assert set(manifest["files"]) == {"net.pt", "trial.pt"} == {p.name for p in saved.iterdir()} - {"manifest.json"}
    assert torch.equal(checkpoint.load(saved, "net")["w"], torch.ones(1000))
    assert checkpoint.load(saved, "unknown") is None


@pytest.mark.parametrize("name", ["net.pt", "trial.pt"])
@pytest.mark.parametrize("harm", ["truncated", "flipped", "grown", "gone", "empty"])
def test_a_torn_file_is_named(saved: Path, name: str, harm: str) -> None:
    path = saved / name
    data = bytearray(path.read_bytes())
    if harm == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes({"truncated": data[:-7], "grown": data + b"x", "empty": b""}.get(harm, data))
    if harm == "gone":
        path.unlink()
    with pytest.raises(Invalid, match=name.replace(".", r"\.")):
        checkpoint.read_manifest(saved)
    assert not checkpoint.is_whole(saved)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '{"files": 3}', '{"files": {"net.pt": 3}}', "{}", "\0"])
def test_a_torn_manifest_is_named(saved: Path, text: str | None) -> None:
    (saved / "manifest.json").unlink() if text is None else (saved / "manifest.json").write_text(text)
    with pytest.raises(Invalid, match=str(saved)):
        checkpoint.read_manifest(saved)


def test_a_trial_does_not_go_on_from_a_torn_checkpoint(tmp_path: Path) -> None:
    given = assignment(tmp_path)
    heard = run(tracked(net=nn.Linear(1, 1)), given, 1)
    path = tmp_path / str(heard.checkpoints[0]) / "net.pt"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Invalid, match=r"net\.pt"):
        run(tracked(net=nn.Linear(1, 1)), goes_on(given, heard))


def test_a_file_that_would_run_code_is_refused(saved: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "bang",)

    torch.save({"w": Bomb()}, saved / "net.pt")
    (saved / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("net", "plain"):
        with pytest.raises(UserError, match=rf"{name}\.pt: must hold tensors, numbers.*state_dict of '{name}'"):
            checkpoint.load(saved, name)
    assert not (tmp_path / "bang").exists()


@pytest.mark.parametrize(
    "state", [{"x": Strange()}, {"x": threading.Lock()}, {"x": lambda: 0}, Strange(), {"x": Path("p")}, {Strange(): 1}]
)
def test_what_cannot_be_read_again_is_found_at_the_first_save(tmp_path: Path, state: Any) -> None:
    with pytest.raises(UserError, match="state_dict of 'odd'"):
        run(tracked(net=nn.Linear(1, 1), odd=Keeps(state)), assignment(tmp_path))
    assert not list(tmp_path.rglob("manifest.json"))


def test_reading_once_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = checkpoint.load
    monkeypatch.setattr(
        checkpoint, "load", lambda folder, name, mmap: read.append(name) or load(folder, name, mmap=mmap)
    )
    run(tracked(net=nn.Linear(1, 1)), assignment(tmp_path))
    assert read == ["net", "trial"]


def test_the_manifest_spells_what_is_not_finite(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.track(net=nn.Linear(1, 1))
        trial.report(loss=1, a=math.inf, b=-math.inf, c=math.nan, d=1e308)

    heard = run(train, assignment(tmp_path))
    text = (tmp_path / str(heard.checkpoints[0]) / "manifest.json").read_text()
    manifest = json.loads(text, parse_constant=pytest.fail)
    (report,) = manifest["reports"]
    assert report["metrics"] == {"loss": 1.0, "a": "inf", "b": "-inf", "c": "nan", "d": 1e308}
    assert (manifest["trial"], manifest["generation"], manifest["epoch"]) == ("t0", 0, 1)
    assert manifest["kinds"] == {"net": "module"}
    assert manifest["has_test"] is False


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_diverged_trial_saves_nothing(tmp_path: Path, loss: float) -> None:
    def train(trial: Trial) -> None:
        trial.track(net=nn.Linear(1, 1))
        trial.report(loss=loss)

    heard = run(train, assignment(tmp_path))
    assert heard.checkpoints == [None]
    assert not (tmp_path / "trials").exists()


def test_a_checkpoint_is_named_by_trial_generation_epoch_and_attempt(tmp_path: Path) -> None:
    heard = run(tracked(net=nn.Linear(1, 1)), assignment(tmp_path, generation=2, attempt="3.1"), 1)
    assert heard.checkpoints == ["trials/t0/checkpoints/g2_e0001_a3.1"]


def test_a_carried_folder_is_copied_and_found_again(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "deep").mkdir(parents=True)

    def train(trial: Trial) -> None:
        if trial.carried is not None:
            assert (trial.carried / "deep" / "a.bin").read_bytes() == b"1"
        for epoch in trial.epochs():
            if epoch < 3:
                (own / "deep" / "a.bin").write_bytes(b"%d" % epoch)
                trial.carry(own)
            trial.report(loss=1)

    given = assignment(tmp_path)
    heard = run(train, given, 1)
    manifest = checkpoint.read_manifest(tmp_path / str(heard.checkpoints[0]))
    assert "files/deep/a.bin" in manifest["files"]
    after = run(train, goes_on(given, heard))
    assert [path is None for path in after.checkpoints] == [False, True, True]  # a folder is carried once


def test_a_disk_that_is_full_while_a_folder_is_copied_is_told_as_such(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.bin").write_bytes(b"1")

    def full(*paths: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.shutil, "copy2", full)
    with pytest.raises(OSError, match="No space left") as raised:
        checkpoint.save(tmp_path / "saved", {}, tmp_path / "own")
    assert is_full(raised.value), "else the trial fails, in place of waiting for room"


def test_the_carried_files_are_held_against_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.txt").write_text("a")
    checkpoint.save(tmp_path / "c", {}, tmp_path / "own")
    (tmp_path / "c" / "files" / "a.txt").write_text("b")
    with pytest.raises(Invalid, match=r"files/a\.txt"):
        checkpoint.read_manifest(tmp_path / "c")


WITHOUT_TORCH = """
    import sys
    from pathlib import Path
    from tests.trial.study import assignment, goes_on, run
    from trainables import toy
    from tuner.errors import UserError

    class Keeps(toy.Progress):
        def state_dict(self):
            return {what}

    given = assignment(Path(sys.argv[1]), params={{"x": 0.0}})
    toy.Progress = Keeps
    try:
        heard = run(toy.train, given, 2)
    except UserError as error:
        sys.exit(f"refused: {{error}}")
    print(run(toy.train, goes_on(given, heard)).metrics[0]["steps"])
    assert "torch" not in sys.modules and "numpy" not in sys.modules
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("super().state_dict()", None),
        ("{**super().state_dict(), 'x': float('inf'), 'y': [None, True, (1, 'a')]}", None),
        ("{1: 2}", "the key 1, which is no string"),
        ("{'a': [{2.5: 2}]}", "the key 2.5, which is no string"),
        ("{'a': {1, 2}}", "but got a set"),
        ("{'a': b'x'}", "but got a bytes"),
    ],
)
def test_without_torch_a_checkpoint_is_json(tmp_path: Path, what: str, said: str | None) -> None:
    source = textwrap.dedent(WITHOUT_TORCH.format(what=what))
    done = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path)], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    if said is None:
        assert (done.stdout, done.stderr) == ("3.0\n", "")
        assert {path.suffix for path in tmp_path.rglob("*.*") if path.is_file()} == {".json"}
    else:
        assert "refused: the state_dict of 'progress' must hold numbers, strings, lists, dicts and numpy" in done.stderr
        assert said in done.stderr


ARRAYS = """
    import sys
    from pathlib import Path
    import numpy as np
    from tuner.trial import checkpoint

    state = {{"a": {what}}}
    checkpoint.save(Path(sys.argv[1]), {{"net": state}})
    back = checkpoint.load(Path(sys.argv[1]), "net")["a"]
    assert back.dtype == state["a"].dtype and back.shape == state["a"].shape
    assert np.array_equal(back, state["a"], equal_nan=back.dtype.kind == "f")
    back += back  # can be written to
    assert "torch" not in sys.modules
"""


@pytest.mark.parametrize(
    "what", ["np.array([[0.1, np.nan], [1e300, -0.0]])", "np.arange(12).reshape(3, 4).T", "np.int8(3)"]
)
def test_without_torch_arrays_are_kept_bit_for_bit(tmp_path: Path, what: str) -> None:
    source = textwrap.dedent(ARRAYS.format(what=what))
    subprocess.run([sys.executable, "-c", source, str(tmp_path / "c")], check=True, cwd=Path.cwd())


def test_without_torch_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    source = textwrap.dedent(ARRAYS.format(what="np.array([print])"))
    done = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path / "c")], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert "UserError: the state_dict of 'net' must hold" in done.stderr
