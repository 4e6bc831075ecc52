"""TensorBoard's file format: what one event holds, and how it lies on disk. tensorboardX gives the messages."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.storage import append_whole, is_full


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
    from tensorboardX.proto import api_pb2, plugin_hparams_pb2
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboardX.record_writer import masked_crc32c

Domain = list[Any] | tuple[float, float]
"""What a param may be: some values, or all between two bounds."""
COLOURS = {0: 1, 2: 3, 4: 2, 6: 4}
"""PNG's colour types, and TensorBoard's number of channels."""


class EventFile:
    """The events of one trial: appended to a file that is not kept open, since a run may pause thousands of trials.

    tensorboardX's own writer starts a thread for each file, syncs it and writes only what fills a buffer; here an
    event can be read as soon as `flush` returns.
    """

    def __init__(self, folder: Path, began: float) -> None:
        self.path = folder / f"events.out.tfevents.{int(began)}.tuner"
        self._waiting = [_framed(Event(file_version="brain.Event:2", wall_time=began))]

    def add(self, values: list[Any], epoch: int | None = None, time: float | None = None) -> None:
        """Add values at an epoch and a moment."""
        if values:
            self._waiting.append(_framed(Event(summary=Summary(value=values), step=epoch, wall_time=time)))

    def flush(self) -> None:
        """Write what was added; what finds no room on the disk waits for the next time."""
        if not self._waiting:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_whole(self.path, b"".join(self._waiting))
        except OSError as error:
            if not is_full(error):
                raise
        else:
            self._waiting.clear()


def _framed(event: Any) -> bytes:
    """Frame an event as a TFRecord: length, its checksum, data, its checksum."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))))


def scalar(tag: str, value: float) -> Any:
    """Make a point of a curve; the tag stays as it is, so that the HParams page finds it."""
    return Summary.Value(tag=tag, simple_value=value)


def text(tag: str, words: str) -> Any:
    """Make a text, which TensorBoard reads as Markdown."""
    return summary.text(tag, words).value[0]


def image(tag: str, png: bytes) -> Any:
    """Make an image of a PNG file's bytes, as they are: size and colours stand in its header."""
    width, height = struct.unpack(">II", png[16:24])
    colours = COLOURS.get(png[25], 3)
    picture = Summary.Image(width=width, height=height, colorspace=colours, encoded_image_string=png)
    return Summary.Value(tag=tag, image=picture)


def histogram(tag: str, counts: Mapping[str, Any]) -> Any:
    """Make a histogram of the counts in bins, their edges, and the sums that `trial.log` keeps."""
    facts = [counts[name] for name in ("min", "max", "count", "sum", "sum_of_squares")]
    # Each limit is a bin's right edge; an empty bin in front gives the first one its left edge.
    return summary.histogram_raw(tag, *facts, counts["edges"], [0, *counts["counts"]]).value[0]


def experiment(params: Mapping[str, Domain], metrics: Mapping[str, str], time: float) -> Any:
    """Tell the HParams page the params (name → values, or bounds), and the metrics (tag → title)."""
    infos = [_info(name, domain) for name, domain in params.items()]
    titles = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=title) for tag, title in metrics.items()
    ]
    made = api_pb2.Experiment(hparam_infos=infos, metric_infos=titles, time_created_secs=time)
    return _plugin("experiment", experiment=made)


def _info(name: str, domain: Domain) -> Any:
    if isinstance(domain, tuple):
        interval = api_pb2.Interval(min_value=domain[0], max_value=domain[1])
        return api_pb2.HParamInfo(name=name, type=api_pb2.DataType.DATA_TYPE_FLOAT64, domain_interval=interval)
    made = api_pb2.HParamInfo(name=name, type=_type(domain))
    made.domain_discrete.extend(domain)
    return made


def _type(values: list[Any]) -> int:
    kinds = api_pb2.DataType
    if all(isinstance(value, bool) for value in values):
        return int(kinds.DATA_TYPE_BOOL)
    if all(isinstance(value, int | float) for value in values):
        return int(kinds.DATA_TYPE_FLOAT64)
    return int(kinds.DATA_TYPE_STRING)


def session_start(trial: str, params: Mapping[str, bool | float | str], time: float) -> Any:
    """Tell the HParams page that a trial began, with these params."""
    info = plugin_hparams_pb2.SessionStartInfo(group_name=trial, start_time_secs=time)
    for name, value in params.items():
        kind = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        setattr(info.hparams[name], f"{kind}_value", value)
    return _plugin("session_start_info", session_start_info=info)


def session_end(good: bool, time: float) -> Any:
    """Tell the HParams page that a trial ended."""
    status = api_pb2.Status.STATUS_SUCCESS if good else api_pb2.Status.STATUS_FAILURE
    info = plugin_hparams_pb2.SessionEndInfo(status=status, end_time_secs=time)
    return _plugin("session_end_info", session_end_info=info)


def _plugin(tag: str, **content: Any) -> Any:
    data = plugin_hparams_pb2.HParamsPluginData(version=0, **content).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data)
    return Summary.Value(tag=f"_hparams_/{tag}", metadata=SummaryMetadata(plugin_data=plugin))
