"""Every shipped YAML is loaded, bound and trained for one epoch."""

import re
from pathlib import Path

import pytest
from support import ROOT

from tuner.api import load, local_trial
from tuner.spec.experiment import Confirm

SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
LIGHT = {
    # What makes an epoch short, or leaves out data that must be downloaded.
    "resnet_cifar10.yaml": ["fixed.dataset=digits", "space.width.values=[8, 16]", "resources.gpus=0"],
    "resnet_fashion.yaml": ["fixed.dataset=digits"],
}


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_one_epoch(path: Path) -> None:
    load(path)
    said: list[str] = []
    local_trial(load(path, ["budget.epochs=1", *_shorter(path), *LIGHT.get(path.name, [])]), said.append)
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
    assert spec.confirm in (None, Confirm())


def _shorter(path: Path) -> list[str]:
    scheduler = load(path).experiment.scheduler
    names = {"asha": "grace_epochs", "hyperband": "grace_epochs", "pbt": "interval_epochs", "median": "grace_epochs"}
    return [f"scheduler.{names[scheduler.kind]}=1"] if scheduler.kind in names else []
