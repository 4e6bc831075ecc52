"""A driver that never began, since its cluster does not answer, say, leaves all as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.core.state import RunState
from tuner.engine.follow import Observer
from tuner.outputs.loggers.curves import Curves
from tuner.outputs.study import Study
from tuner.outputs.tensorboard import TensorBoard


@pytest.mark.parametrize("make", [TensorBoard, Study, Curves])
def test_nothing_is_deleted_before_there_is_something_to_write(make: type[Observer], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("tensorboard/t0000/events", "study.journal", "curves.csv")]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.write_text("of the last driver")
    made = make(tmp_path)  # type: ignore[call-arg]
    made.close(RunState())
    assert [file.read_text() for file in files] == ["of the last driver"] * 3
