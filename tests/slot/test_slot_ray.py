"""A plain function for Ray Tune, unchanged; no Ray is started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tuner.slot import ray_session
from tuner.storage.machine import sweep

from .bench import Bench, hear, until_end

PLAIN = """
    import json, os, tempfile
    from ray import tune

    def train(config):
        assert tune.get_context().get_trial_id() == "t0"
        start, loss = 0, 1.0
        if checkpoint := tune.get_checkpoint():
            with checkpoint.as_directory() as folder:
                start, loss = json.load(open(os.path.join(folder, "deep", "state.json")))
        for epoch in range(start + 1, 100):
            loss *= config["rate"]
            with tempfile.TemporaryDirectory() as folder:
                os.mkdir(os.path.join(folder, "deep"))
                with open(os.path.join(folder, "deep", "state.json"), "w") as file:
                    json.dump([epoch, loss], file)
                tune.report(
                    {"loss": loss, "val": {"acc": 0.5}, "note": "text", "curve": [1, 2], "done": False, "none": None},
                    checkpoint=tune.Checkpoint.from_directory(folder),
                )
"""
PARAMS = {"rate": 0.5}


def test_a_plain_function_reports_and_goes_on_from_its_own_checkpoint(bench: Bench) -> None:
    temporary = set(os.listdir(tempfile.gettempdir()))
    slot = bench.slot(bench.code(PLAIN, plain_ray=True))
    slot.begin(bench.assignment(params=PARAMS))
    events = [hear(slot) for _ in range(2)]
    assert [event["epoch"] for event in events] == [1, 2]
    assert events[1]["metrics"] == {"loss": 0.25, "val/acc": 0.5, "done": 0.0}
    resumed = bench.assignment(params=PARAMS, checkpoint=events[1]["checkpoint"], epoch=2, attempt="2.0")
    slot.begin(resumed)
    event = hear(slot)
    assert (event["epoch"], event["metrics"]["loss"]) == (3, 0.125)
    assert Path(resumed.run, event["checkpoint"], "files", "deep", "state.json").exists()
    slot.close()
    left = set(os.listdir(tempfile.gettempdir())) - temporary
    assert not [name for name in left if re.fullmatch(r"tuner-\w+-\d+", name)], "those of runs are longer"


def test_what_a_dead_process_left_in_its_temporary_folder_is_in_nobody_s_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    for pid in (os.getpid(), dead.pid):
        (ray_session.scratch(pid) / "tmp1234").mkdir(parents=True)
    sweep()
    assert list(tmp_path.iterdir()) == [mine := ray_session.scratch(os.getpid())], "that of a process that lives stays"
    ray_session.use_scratch()
    assert tempfile.gettempdir() == str(mine)
    assert not list(mine.iterdir())


def test_a_temporary_folder_that_leads_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere" / "kept").mkdir(parents=True)
    ray_session.scratch(os.getpid()).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        ray_session.use_scratch()
    assert (tmp_path / "elsewhere" / "kept").exists()


def test_the_slot_itself_has_not_imported_ray() -> None:
    source = (
        "import sys, tuner.slot.slot, tuner.slot.zygote; sys.exit(bool({'ray', 'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0


def test_a_plain_function_that_never_reports_the_objective(bench: Bench) -> None:
    code = bench.code("from ray import tune\ndef train(config): tune.report({'a': 1, 'b': 'x'})", plain_ray=True)
    slot = bench.slot(code)
    slot.begin(bench.assignment())
    (event,) = until_end(slot)
    assert event["misuse"] is True
    assert "must hold the objective 'loss', but got 'a'." in event["reason"]
