"""What good files give, how files are found, and what `--set` changes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import UserError
from tuner.spec.experiment import Asha, Choice, Float, Pbt, Tpe, kept
from tuner.spec.load import describe, from_mapping, load
from tuner.spec.start import Learned, Start

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.yaml"))
MAPPING: dict[str, Any] = {
    "trainable": "code/train.py:train",
    "objective": {"metric": "loss", "mode": "min"},
    "budget": {"trials": 4, "epochs": 9},
    "space": {"lr": {"dist": "float", "low": 1e-4, "high": 1, "log": True}},
}


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_a_good_file_loads_and_comes_back_from_its_resolved_form(file: Path) -> None:
    loaded = load(file)
    again = from_mapping(loaded.experiment.model_dump(), file.parent)
    assert again.experiment == loaded.experiment
    assert (again.trainable, again.test) == (loaded.trainable, loaded.test)


def good(name: str, *overrides: str) -> Any:
    return load(HERE / "good" / f"{name}.yaml", overrides)


def test_scientific_notation_is_a_number() -> None:
    lr = good("scientific").experiment.space["lr"]
    assert isinstance(lr, Float) and lr.low == 1e-4 and isinstance(lr.low, float)


def test_choices_keep_null_lists_and_words_that_yaml_1_1_takes_for_bools() -> None:
    space = good("null_and_lists_in_choices").experiment.space
    assert isinstance(space["layers"], Choice) and space["layers"].values == [[8], [8, 16], [16]]
    assert isinstance(space["name"], Choice) and space["name"].values == [None, "no", "off", "1"]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "min loss"),
        (1, "min loss, from 1 start point"),
        (4, "min loss, from 4 start points"),
        (6, "min loss, from 4 of 6 start points (budget.trials allows no more)"),
    ],
)
def test_start_points_are_counted_and_those_that_nobody_will_try_are_told(count: int, told: str) -> None:
    assert describe(from_mapping({**MAPPING, "start": {"points": [{"lr": 0.1}] * count}}, HERE)).endswith(told)


def test_what_will_not_be_tried_is_not_told() -> None:
    learned = Learned(run="A", trial="t0000", params={"lr": 0.1}, epochs=[1], values=[0.5], last_epoch=1)
    start = Start(points=[{"lr": 0.1}] * 4, runs=["A"], learned=[learned])
    assert start.told("random", 5) == "4 start points and the best params of A"
    assert start.told("random", 4) == "4 start points"


def test_conditions_nest() -> None:
    space = good("nested_when").experiment.space
    params = {"lr": 0.1, "optimizer": "sgd", "momentum": 0.9}
    assert space["width"].active(params)
    assert not space["width"].active(params | {"momentum": 0.7})


def test_a_kind_that_is_left_out_is_the_default_one() -> None:
    experiment = good("default_kinds").experiment
    assert experiment.scheduler == Asha(grace_epochs=2) and experiment.search == Tpe(startup=3)


def test_a_plain_ray_function_and_a_partial_are_told_apart() -> None:
    assert good("plain_ray").trainable.plain_ray
    partial = good("partial").trainable
    assert not partial.plain_ray and not partial.checked
    assert not good("open_ended").trainable.checked
    assert good("scientific").trainable.checked


def test_a_file_trainable_knows_its_place() -> None:
    trainable = good("scientific").trainable
    assert trainable.file == HERE / "code" / "train.py" and trainable.root == HERE / "code"
    assert (trainable.module, trainable.function) == ("train", "train")


def test_overrides_reach_old_and_new_keys_by_the_rules_of_yaml() -> None:
    experiment = good("scientific", "space.lr.low=1e-3", "scheduler.kind=pbt", "budget.trials=8", "fixed.optimizer=no",
                      "fixed.width=4", "fixed.width=5").experiment  # fmt: skip
    assert experiment.space["lr"].low == 1e-3 and isinstance(experiment.scheduler, Pbt)
    assert experiment.fixed == {"optimizer": "no", "width": 5} and experiment.budget.trials == 8


def test_an_override_may_replace_a_whole_section() -> None:
    assert good("default_kinds", "scheduler={kind: none}").experiment.scheduler.kind == "none"


def test_an_override_may_mend_what_is_wrong_in_the_file() -> None:
    assert load(HERE / "bad" / "mode_maximize.yaml", ["objective.mode=max"]).experiment.objective.mode == "max"


def test_a_name_is_found_under_search_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "search_spaces"
    folder.mkdir()
    text = (HERE / "good" / "scientific.yaml").read_text().replace("../code", str(HERE / "code"))
    (folder / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert load("mine.yaml").file == load("mine").file == load("search_spaces/mine.yaml").file == folder / "mine.yaml"
    with pytest.raises(
        UserError, match=r"^mien.yaml: must be a YAML file, but got no such file. Did you mean mine.yaml\?"
    ):
        load("mien.yaml")
    with pytest.raises(UserError, match="but got a folder"):
        load("search_spaces")


def test_a_mapping_needs_no_file_and_takes_tuples() -> None:
    space = {**MAPPING["space"], "width": {"dist": "choice", "values": (8, 16)}}
    loaded = from_mapping({**MAPPING, "space": space}, HERE)
    assert isinstance(width := loaded.experiment.space["width"], Choice) and width.values == [8, 16]


def test_a_mapping_gives_its_errors_without_lines() -> None:
    with pytest.raises(UserError) as raised:
        from_mapping({**MAPPING, "seed": Path("x"), "budget": {"trials": 0, "epochs": 9}}, HERE)
    assert str(raised.value).splitlines() == [
        "spec: seed: must be a value that YAML can hold, but got PosixPath. "
        "Give a number, a text, a bool, None, a list or a dict.",
        "spec: budget.trials: must be at least 1, but got 0. Write trials: 1, or more.",
    ]


def test_a_function_itself_that_cannot_be_one_is_the_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def train(trial: Any, *, lr: float) -> None: ...

    with pytest.raises(UserError, match=r"^spec: trainable: must name an ordinary function, but got an async one"):
        from_mapping({**MAPPING, "trainable": train}, HERE)
    file = tmp_path / "broken_meanwhile.py"
    file.write_text("def train(trial, *, lr): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    function = importlib.import_module("broken_meanwhile").train
    file.write_text("def train(trial, *, lr) ...\n")
    with pytest.raises(UserError, match=r"^spec: trainable: must name a module that Python can read, but got a syntax"):
        from_mapping({**MAPPING, "trainable": function}, HERE)


def test_loading_imports_neither_ray_nor_torch_nor_optuna_nor_the_trainable() -> None:
    code = (
        "import sys; from tuner.spec.load import load; load(sys.argv[1]);"
        "print(sorted({'ray', 'torch', 'optuna', 'numpy', 'train'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(HERE / "good" / "scientific.yaml")]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_of_asha_that_was_begun_before_it_had_a_quota_goes_on_without_one() -> None:
    values = good("default_kinds").experiment.model_dump()
    assert kept(values, "r").scheduler == Asha(grace_epochs=2)
    del values["scheduler"]["quota"]
    assert kept(values, "r").scheduler == Asha(grace_epochs=2, quota=False)


def test_a_run_that_was_begun_with_what_is_refused_today_is_gone_on_with() -> None:
    mapping = {**MAPPING, "scheduler": {"kind": "asha", "reduction_factor": 1.005}}
    assert from_mapping(mapping, HERE, is_new=False).experiment.scheduler.reduction_factor == 1.005  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"must be at least 1\.01, but got 1\.005"):
        from_mapping(mapping, HERE)
