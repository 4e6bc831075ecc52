"""All that looks at a run while it goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tuner.outputs.disk import Disk
from tuner.outputs.events import Events
from tuner.outputs.live import Show
from tuner.outputs.loggers.asked import Logger, asked
from tuner.outputs.packing import Shared
from tuner.outputs.study import Study
from tuner.outputs.tensorboard import TensorBoard
from tuner.spec.loggers import SomeLogger


def observers(folder: Path, loggers: Sequence[SomeLogger], show: Show, json: TextIO | None) -> list[Logger]:
    """Make them; events go to `json`, if there is one."""
    always: list[Logger] = [Disk(folder, show.say), Shared(show.say), show, TensorBoard(folder), Study(folder)]
    return [*always, *([Events(json)] if json else []), *asked(loggers, folder, show.say)]
