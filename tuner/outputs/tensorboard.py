"""TensorBoard: scalars by epoch, texts and images, and an HParams page with every trial's metric filled in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.core.records import Ended, Header, Record, Report, Suggested
from tuner.core.state import RunState, TrialState
from tuner.storage import delete_folder


@contextmanager
def _without_torch() -> Iterator[None]:
    """Hide torch while tensorboardX is imported: it would load it for one name, half of the driver's memory."""
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hide:
            del sys.modules["torch"]


with _without_torch():
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event


class TensorBoard:
    """Writes one folder of events for each trial; begins anew whenever a driver starts."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder, self.folder = run_folder, run_folder / "tensorboard"
        self.files: dict[str, EventFile] = {}
        self.shown: set[Path] = set()
        delete_folder(self.folder)

    def see(self, record: Record, run: RunState) -> None:
        """Write what the record adds."""
        if isinstance(record, Header):
            self._describe(run)
        elif isinstance(record, Suggested):
            self._begin(run.trials[record.trial], record.time)
        elif isinstance(record, Report):
            self._report(record, run)
        if isinstance(record, Report | Ended) and run.trials[record.trial].status == "ended":
            self._end(record.trial, record.time)

    def close(self, run: RunState) -> None:
        """Put everything on disk."""
        for file in self.files.values():
            file.close()
        self.files.clear()

    def _describe(self, run: RunState) -> None:
        """Tell the HParams page which parameters and metrics there are."""
        params = {name: _shown(_example(dimension)) for name, dimension in run.spec.space.items()}
        metric = run.spec.objective.metric
        experiment, _, _ = summary.hparams(params, {metric: 0.0, f"best/{metric}": 0.0})
        file = EventFile(self.folder)
        file.add(experiment)
        file.close()

    def _begin(self, trial: TrialState, time: float) -> None:
        _, start, _ = summary.hparams({name: _shown(value) for name, value in trial.params.items()}, {})
        self._file(trial.id).add(start, time=time)

    def _report(self, record: Report, run: RunState) -> None:
        file, trial = self._file(record.trial), run.trials[record.trial]
        for name, value in record.metrics.items():
            file.add(summary.scalar(name, value), record.epoch, record.time)
        score = run.spec.objective.score
        best = max((score(run.objective(report)) for report in trial.reports), key=lambda s: (s == s, s))
        file.add(summary.scalar(f"best/{run.spec.objective.metric}", score(best)), record.epoch, record.time)
        if run.spec.scheduler.kind == "pbt":
            for name, value in trial.params.items():
                if isinstance(value, int | float):
                    file.add(summary.scalar(f"params/{name}", float(value)), record.epoch, record.time)
        self._media(record, file)

    def _media(self, record: Report, file: EventFile) -> None:
        """Show what the trial kept with `trial.log` up to this report."""
        folder = self.run_folder / "trials" / record.trial / "media"
        for path in sorted(folder.iterdir()) if folder.exists() else []:
            epoch, _, name = path.stem.partition("_")
            if path in self.shown or path.name.startswith(".") or int(epoch[1:]) > record.epoch:
                continue
            self.shown.add(path)
            file.add(_medium(path, name), int(epoch[1:]), record.time)

    def _end(self, name: str, time: float) -> None:
        _, _, end = summary.hparams({}, {})
        file = self._file(name)
        file.add(end, time=time)
        file.close()
        del self.files[name]

    def _file(self, trial: str) -> EventFile:
        if trial not in self.files:
            self.files[trial] = EventFile(self.folder / trial)
        return self.files[trial]


class EventFile:
    """One file of events, written in this thread: tensorboardX's own writer starts a queue and a thread for each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))

    def add(self, what: Any, epoch: int | None = None, time: float | None = None) -> None:
        """Write one summary at an epoch and a moment."""
        self._writer.write_event(Event(summary=what, step=epoch, wall_time=time))

    def close(self) -> None:
        """Put it on disk."""
        self._writer.close()


def _medium(path: Path, name: str) -> Any:
    if path.suffix == ".txt":
        return summary.text(name, path.read_text())
    import numpy as np
    from PIL import Image

    return summary.image(name, np.asarray(Image.open(path).convert("RGB")), dataformats="HWC")


def _example(dimension: Any) -> Any:
    return dimension.values[0] if dimension.dist == "choice" else dimension.low


def _shown(value: Any) -> bool | float | str:
    """Turn a param into what the HParams page knows."""
    return value if isinstance(value, bool | int | float | str) else str(value)
