"""Every shipped YAML is loaded, bound and trained for one epoch."""

import re
from pathlib import Path

import pytest
from support import ROOT

from trainables.pretrain import pretrain
from tuner.api import load, local_trial
from tuner.core.rules.asha import rung_epochs
from tuner.spec.experiment import Confirm

pytestmark = pytest.mark.slow

SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
LIGHT = {
    # What makes an epoch short, or leaves out data that must be downloaded.
    "resnet_cifar10.yaml": ["fixed.dataset=digits", "space.width.values=[8, 16]", "resources.gpus=0"],
    "resnet_fashion.yaml": ["fixed.dataset=digits"],
    "finetune.yaml": ["fixed.train_size=64"],
    "finetune_images.yaml": ["fixed.model={vit}", "fixed.train_size=100"],
}


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_one_epoch(path: Path, tmp_path: Path) -> None:
    load(path)
    said: list[str] = []
    light = LIGHT.get(path.name, [])
    if any("{vit}" in given for given in light):  # the model that the file's second line makes
        pretrain(tmp_path / "vit", dataset="digits", train_size=100, epochs=1, width=16)
    given = [one.replace("{vit}", str(tmp_path / "vit")) for one in light]
    local_trial(load(path, ["budget.epochs=1", *_shorter(path), *given]), said.append)
    assert said[-1].startswith("epoch 1  ")


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_every_key_has_a_comment(path: Path) -> None:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith(("#", " ")):
            above = lines[number - 1] if number else ""
            assert "#" in line or above.startswith("#"), f"{path.name}:{number + 1}: {line}"


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_what_is_commented_out_may_be_used(path: Path, tmp_path: Path) -> None:
    head, _, rest = path.read_text().partition("# What else there is, with its defaults:\n")
    assert rest
    inner = re.sub(r"(?m)^  # (\w+: )", r"  \1", head)
    outer = "".join(line.removeprefix("# ") for line in rest.splitlines(keepends=True) if "module:function" not in line)
    (tmp_path / "all.yaml").write_text(inner + outer)
    spec = load(tmp_path / "all.yaml").experiment
    assert spec.budget.hours
    assert spec.start.points
    assert spec.watchdog == type(spec.watchdog)()
    assert "\n# loggers: []  " in path.read_text()
    assert spec.loggers == []
    assert spec.confirm == (None if spec.scheduler.kind == "pbt" else Confirm())


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_the_epochs_of_the_rungs_are_named(path: Path) -> None:
    spec, said = load(path).experiment, re.search(r"# at epochs ([\d, and]+) the", path.read_text())
    if spec.scheduler.kind == "asha":
        rungs = rung_epochs(spec.scheduler.grace_epochs, spec.scheduler.reduction_factor, spec.budget.epochs)
        assert said and [int(epoch) for epoch in re.findall(r"\d+", said[1])] == rungs
    assert bool(said) is (spec.scheduler.kind == "asha")


def _shorter(path: Path) -> list[str]:
    scheduler = load(path).experiment.scheduler
    names = {"asha": "grace_epochs", "hyperband": "grace_epochs", "pbt": "interval_epochs", "median": "grace_epochs"}
    return [f"scheduler.{names[scheduler.kind]}=1"] if scheduler.kind in names else []
