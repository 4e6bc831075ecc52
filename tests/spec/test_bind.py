"""How functions are found, and what their source tells."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.spec import bind, pausing
from tuner.spec.load import from_mapping
from tuner.spec.modules import BindError

Write = Callable[[str, str], Path]

PLAIN: dict[str, Any] = {
    "trainable": "module.py:train",
    "objective": {"metric": "loss", "mode": "min"},
    "budget": {"trials": 4, "epochs": 9},
    "space": {"lr": {"dist": "float", "low": 0.0, "high": 1.0}},
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a source file below the folder of the YAML; the current folder is an empty one beside it."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def write(name: str, text: str) -> Path:
        file = tmp_path / "yaml" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path / "yaml"

    return write


def whats(bound: bind.Bound, space: dict[str, object], **fixed: object) -> list[str]:
    return [f"{'.'.join(map(str, broken.place))}: {broken.what}" for broken in bind.check(bound, space, fixed)]


TRAIN = "def train(trial, *, lr: float, width: int = 3):\n    trial.report(x=1)\n"
LR: dict[str, object] = {"lr": {"dist": "float"}}


def test_a_module_is_looked_for_beside_the_yaml_then_here_then_on_the_path(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write("first.py", TRAIN)
    (tmp_path / "elsewhere" / "first.py").write_text("")
    (tmp_path / "elsewhere" / "second.py").write_text(TRAIN)
    (tmp_path / "path" / "a").mkdir(parents=True)
    (tmp_path / "path" / "a" / "third.py").write_text(TRAIN)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    assert bind.find("first:train", folder).trainable.root == folder
    assert bind.find("second:train", folder).trainable.root == tmp_path / "elsewhere"
    third = bind.find("a.third:train", folder).trainable
    assert (third.root, third.module, third.file) == (tmp_path / "path", "a.third", None)
    assert "a" not in sys.modules and "a.third" not in sys.modules


def test_packages_are_not_imported(write: Write) -> None:
    write("pack/__init__.py", "raise SystemExit('imported')")
    folder = write("pack/models.py", TRAIN)
    assert whats(bind.find("pack.models:train", folder), LR) == []


@pytest.mark.parametrize(
    "line",
    ["from .deep.models import train", "from pack.deep.models import train", "from .deep.models import fit as train"],
)
def test_one_reexport_is_followed(write: Write, line: str) -> None:
    write("pack/__init__.py", line)
    write("pack/deep/__init__.py", "")
    folder = write("pack/deep/models.py", TRAIN + TRAIN.replace("train", "fit"))
    assert whats(bind.find("pack:train", folder), {**LR, "widht": {"dist": "int"}}) != []


def test_a_second_reexport_is_left_to_the_first_trial(write: Write) -> None:
    write("pack/__init__.py", "from .a import train")
    write("pack/a.py", "from .b import train")
    folder = write("pack/b.py", TRAIN)
    assert bind.find("pack:train", folder).trainable.checked is False


@pytest.mark.parametrize(
    "text",
    [
        "import functools\ndef f(trial, *, lr): ...\ntrain = functools.partial(f, lr=1)\n",
        "@wrapped\ndef train(trial, *, other): ...\n",
        "def train(trial, **params): ...\n",
        "from somewhere_that_is_not_there import train\n",
        "from somewhere import *\n",
        "def __getattr__(name): ...\n",
    ],
)
def test_what_the_source_cannot_tell_is_left_to_the_first_trial(write: Write, text: str) -> None:
    bound = bind.find("module:train", write("module.py", text))
    assert not bound.trainable.checked
    assert whats(bound, LR) == []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\n@torch.no_grad()\n" + TRAIN,
        "if True:\n    def train(trial, *, lr: float): ...\nelse:\n    def train(trial, *, lr: float): ...\n",
        "try:\n    import x\nexcept ImportError:\n    x = None\n" + TRAIN,
        TRAIN.replace("train", "_train") + "train = _train\n",
        '"""Uses "\\d"."""\n' + TRAIN,
    ],
)
def test_what_the_source_does_tell_is_checked(write: Write, text: str) -> None:
    bound = bind.find("module:train", write("module.py", text))
    assert bound.trainable.checked
    assert whats(bound, {**LR, "nothing": {"dist": "int"}}) != []


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        ("float", 1, True), ("float", True, False), ("int", 1.5, False), ("int", 2.0, False), ("str", None, False),
        ("str | None", None, True), ("Optional[int]", None, True), ("typing.Optional[int]", "x", False),
        ("Union[int, str]", "x", True), ("Literal['a', 'b']", "c", False), ("Literal['a', None]", None, True),
        ("'int'", "x", False), ("list[int]", [1], True), ("tuple[int, ...]", [1], True), ("Sequence[int]", 3, False),
        ("dict[str, int]", {"a": 1}, True), ("Path", "x", True), ("int | Path", "x", True),
        ("Annotated[int, 3]", "x", False),
        ("bool", 1, False), ("Any", "x", True),
    ],
)  # fmt: skip
def test_values_are_held_against_annotations(write: Write, annotation: str, value: object, fits: bool) -> None:
    bound = bind.find("module:train", write("module.py", f"def train(trial, *, x: {annotation}): ...\n"))
    assert (whats(bound, {}, x=value) == []) is fits


def test_a_default_of_none_allows_null(write: Write) -> None:
    bound = bind.find("module:train", write("module.py", "def train(trial, *, x: int = None): ...\n"))
    assert whats(bound, {}, x=None) == []


def test_kinds_of_dimension_are_held_against_annotations(write: Write) -> None:
    bound = bind.find("module:train", write("module.py", "def train(trial, *, a: int, b: float, c: str): ...\n"))
    space = {"a": {"dist": "float"}, "b": {"dist": "int"}, "c": {"dist": "choice", "values": ["x", 3]}}
    assert whats(bound, space) == [
        "space.a.dist: must fit `a: int` of train (module.py:1), but got float",
        "space.c.values.1: must fit `c: str` of train (module.py:1), but got 3",
    ]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("trial.report(x=1)", True),
        ("trial.track(model=1)", False),
        ("keep = trial.track; keep(model=1)", False),
        ("helper(trial)", False),
        ("def inner():\n        trial.track(model=1)\n    inner()", False),
        ("other.track(model=1)", True),
    ],
)
def test_pbt_is_refused_where_the_source_shows_that_nothing_is_tracked(write: Write, body: str, refused: bool) -> None:
    bound = bind.find("module:train", write("module.py", f"def train(trial, *, lr):\n    {body}\n"))
    assert bool(list(pausing.check_kind(bound, "scheduler", "pbt"))) is refused
    assert bool(list(pausing.check_promoting(bound))) is refused


@pytest.mark.parametrize(
    ("body", "can"),
    [
        ("trial.track(model=1)", True),
        ("helper(trial)", False),
        ("Trainer(callbacks=[TrialCallback(trial)])", True),
        ("callback = tuner.integrations.huggingface.TrialCallback(trial=trial)", True),
        ("TrialCallback(other); OtherCallback(trial)", False),
    ],
)
def test_trials_can_pause_where_the_source_shows_for_certain_that_they_track(
    write: Write, body: str, can: bool
) -> None:
    bound = bind.find("module:train", write("module.py", f"def train(trial, *, lr):\n    {body}\n"))
    assert pausing.can_pause(bound) is can


@pytest.mark.parametrize(
    ("body", "more", "kind"),
    [
        ("trial.track(model=1)", {}, "auto"),
        ("trial.track(model=1)", {"scheduler": {"kind": "asha"}}, "tpe"),
        ("pass", {}, "random"),
        ("pass", {"search": {"seed": 3}}, "random"),
        ("pass", {"scheduler": {"kind": "asha"}}, "tpe"),
        ("pass", {"budget": {"trials": 4, "epochs": 1}}, "tpe"),
        ("pass", {"space": {"lr": {"dist": "float", "low": 0.0, "high": 1.0, "prior": 0.5}}}, "tpe"),
        ("pass", {"space": {"lr": {"dist": "float", "low": 0.0, "high": 1.0, "prior": None}}}, "random"),
        ("pass", {"start": {"runs": []}}, "random"),
        ("pass", {"constraints": {"latency_ms": "<= 5"}}, "tpe"),
        ("pass", {"objective": [{"metric": "a", "mode": "min"}, {"metric": "b", "mode": "max"}]}, "tpe"),
    ],
)
def test_what_searches_where_nothing_is_asked_for(write: Write, body: str, more: dict[str, Any], kind: str) -> None:
    folder = write("module.py", f"def train(trial, *, lr):\n    {body}\n")
    loaded = from_mapping({**PLAIN, **more}, folder).experiment
    assert loaded.search.kind == kind
    assert loaded.search.seed == more.get("search", {}).get("seed")


def test_a_syntax_error_is_named_with_its_line(write: Write) -> None:
    folder = write("module.py", "def train(trial):\n    if lr\n        pass\n")
    with pytest.raises(BindError, match=r"but got a syntax error in .*module\.py:2"):
        bind.find("module:train", folder)


def test_neighbours_are_offered_for_a_module_that_is_not_there(write: Write) -> None:
    folder = write("models/resnet.py", TRAIN)
    with pytest.raises(BindError) as raised:
        bind.find("models.resnt:train", folder)
    assert raised.value.fix == "Did you mean models.resnet?"


@pytest.mark.parametrize("ref", ["plain:train", "sys:exit", "_bisect:bisect", "compiled:train"])
def test_modules_without_source_are_refused(write: Write, ref: str) -> None:
    write("plain/readme.txt", "")
    folder = write("compiled.so", "")
    with pytest.raises(BindError, match="must name a module with Python source"):
        bind.find(ref, folder)


def test_a_trial_by_another_name_is_no_plain_ray_function(write: Write) -> None:
    bound = bind.find("module:train", write("module.py", "def train(t: Trial): ...\n"))
    assert not bound.trainable.plain_ray
    assert "first parameter is trial" in whats(bound, {})[0]
