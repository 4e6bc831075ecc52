"""TensorBoard's own reader reads what the run wrote: scalars, texts, images, and the HParams page."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorboard import context
from tensorboard.backend.event_processing import data_provider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups
from tensorboard.util.tensor_util import make_ndarray

from tuner.core.records import Asked
from tuner.outputs import tensorboard
from tuner.outputs.tensorboard import TensorBoard
from tuner.trial import media

from .runs_made import MIXED, by_hand, experiment, reported, shown, simulated, suggested


def multiplexer(folder: Path) -> EventMultiplexer:
    made = EventMultiplexer(tensor_size_guidance={"scalars": 0, "images": 0, "text": 0, "hparams": 0})
    made.AddRunsFromDirectory(str(folder / "tensorboard"))
    made.Reload()
    return made


def series(events: EventMultiplexer, run: str, tag: str) -> list[tuple[int, float]]:
    return [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(run, tag)]


def hparams(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Ask the plugin for what its page shows: the experiment, and each trial's row."""
    provider = data_provider.MultiplexerDataProvider(multiplexer(folder), str(folder))
    backend = backend_context.Context(SimpleNamespace(data_provider=provider))
    request = context.RequestContext()
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]
    about = get_experiment.Handler(
        request, backend, "", api_pb2.GetExperimentRequest(experiment_name="", include_metrics=True)
    ).run()
    asked = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=1000, allowed_statuses=statuses)
    asked.include_metrics = True
    groups = list_session_groups.Handler(request, backend, "", asked).run()
    return about, {group.sessions[0].name: group for group in groups.session_groups}


def metrics_of(group: Any) -> dict[str, float]:
    return {value.name.tag: value.value for value in group.metric_values}


def test_scalars_stand_at_their_epochs(tmp_path: Path) -> None:
    spec = experiment(objective={"metric": "val/loss @1", "mode": "min"})
    folder = tmp_path / "run"
    records = by_hand(
        spec,
        suggested("t0000", x=0.5),
        reported("t0000", 1, **{"val/loss @1": 2.0, "train loss": 3.0}),
        reported("t0000", 3, **{"val/loss @1": 1.0}),
        reported("t0000", 4, end="finished", **{"val/loss @1": 1.5}),
    )
    folder.mkdir()
    shown(records, TensorBoard(folder))
    events = multiplexer(folder)
    assert series(events, "t0000", "val/loss @1") == [(1, 2.0), (3, 1.0), (4, 1.5)]
    assert series(events, "t0000", "best/val/loss @1") == [(1, 2.0), (3, 1.0), (4, 1.0)]
    assert series(events, "t0000", "train loss") == [(1, 3.0)]
    _, groups = hparams(folder)
    assert metrics_of(groups["t0000"]) == {"val/loss @1": 1.5, "best/val/loss @1": 1.0}


def test_the_hparams_page_lists_every_trial_with_its_metric(tmp_path: Path) -> None:
    spec = experiment(space=MIXED, scheduler={"kind": "asha"})
    run = shown(simulated(tmp_path / "run", spec), TensorBoard(tmp_path / "run"))
    about, groups = hparams(tmp_path / "run")
    assert {info.name for info in about.hparam_infos} == set(MIXED)
    assert [info.display_name for info in about.metric_infos] == ["best score", "last score"]
    assert groups.keys() == run.trials.keys()
    for name, trial in run.trials.items():
        group = groups[name]
        values = {key: getattr(value, value.WhichOneof("kind")) for key, value in group.hparams.items()}
        assert values == {key: as_shown(key, value) for key, value in trial.params.items()}
        scores = [run.objective(report) for report in trial.reports]
        assert metrics_of(group)["score"] == pytest.approx(scores[-1], rel=1e-6)
        assert metrics_of(group)["best/score"] == pytest.approx(max(scores), rel=1e-6)
        assert group.sessions[0].status == api_pb2.STATUS_SUCCESS


def as_shown(name: str, value: Any) -> Any:
    """Choices of one type keep it; others are texts, all of them."""
    if name in ("optimizer", "widths"):
        return value if isinstance(value, str) else json.dumps(value)
    return value


def test_domains_of_the_hparams_page(tmp_path: Path) -> None:
    (folder := tmp_path / "run").mkdir()
    shown(by_hand(experiment(space=MIXED)), TensorBoard(folder))
    about, groups = hparams(folder)
    infos = {info.name: info for info in about.hparam_infos}
    assert (infos["lr"].domain_interval.min_value, infos["lr"].domain_interval.max_value) == (1e-4, 1.0)
    assert list(infos["optimizer"].domain_discrete) == ["sgd", "adam", "null"]
    assert list(infos["momentum"].domain_discrete) == [0.0, 0.5, 0.9]
    assert list(infos["nesterov"].domain_discrete) == [True, False]
    assert list(infos["widths"].domain_discrete) == ["[8, 16]", "[16, [32]]", "null"]
    assert not groups


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    (folder := tmp_path / "run").mkdir()
    records = by_hand(
        experiment(),
        suggested("t0000", x=0.5),
        reported("t0000", 1, score=0.25),
        reported("t0000", 2, end="diverged", score=math.nan),
        suggested("t0001", x=0.6),
        reported("t0001", 1, end="diverged", score=math.inf, loss=-math.inf),
    )
    shown(records, TensorBoard(folder))
    events = multiplexer(folder)
    (first, second) = series(events, "t0000", "score")
    assert first == (1, 0.25)
    assert second[0] == 2
    assert math.isnan(second[1])
    assert series(events, "t0000", "best/score") == [(1, 0.25), (2, 0.25)]
    assert series(events, "t0001", "loss") == [(1, -math.inf)]
    assert "best/score" not in events.Runs()["t0001"]["tensors"]
    _, groups = hparams(folder)
    assert {group.sessions[0].status for group in groups.values()} == {api_pb2.STATUS_FAILURE}


def test_population_based_training_shows_params_by_epoch(tmp_path: Path) -> None:
    spec = experiment(budget={"trials": 6, "epochs": 12}, scheduler={"kind": "pbt", "interval_epochs": 3})
    folder = simulated(tmp_path / "run", spec, slots=6)
    run = shown(folder, TensorBoard(folder))
    events = multiplexer(folder)
    cloned = next(trial for trial in run.trials.values() if trial.generation)
    points = series(events, cloned.id, "params/x")
    clone = next(report for report in cloned.reports if report.decision.clone)
    before, after = (next(x for epoch, x in points if epoch == wanted) for wanted in (clone.epoch, clone.epoch + 1))
    assert clone.decision.clone is not None
    assert after == pytest.approx(clone.decision.clone.params["x"], rel=1e-6)
    assert before == points[0][1] != after
    _, groups = hparams(folder)
    assert {name: group.hparams["x"].number_value for name, group in groups.items()} == {
        name: trial.params["x"] for name, trial in run.trials.items()
    }


def test_texts_and_images(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    where = folder / "trials" / "t0000" / "media"
    board = TensorBoard(folder)
    grey, colour = np.zeros((4, 6), np.uint8), np.full((5, 7, 3), 0.5)
    media.write(where, "note.v2", 1, "all is *well*")
    media.write(where, "val/grey", 1, grey)
    media.write(where, "late", 2, colour)
    (where / "stray").write_text("not ours")
    begun = by_hand(experiment(), suggested("t0000", x=0.5), reported("t0000", 1, score=0.1))
    shown(begun, board)
    events = multiplexer(folder)
    assert images(events) == {"val/grey": [(1, 6, 4)]}
    (text,) = events.Tensors("t0000", "note.v2/text_summary")
    assert (text.step, text.tensor_proto.string_val[0]) == (1, b"all is *well*")
    ended = [*begun, reported("t0000", 3, end="finished", score=0.2)]
    shown(ended, TensorBoard(folder))
    assert images(multiplexer(folder)) == {"val/grey": [(1, 6, 4)], "late": [(2, 7, 5)]}


class Counted:
    """A pattern, and what it was held against."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.seen = pattern, list[str]()

    def fullmatch(self, text: str) -> re.Match[str] | None:
        self.seen.append(text)
        return self.pattern.fullmatch(text)


@pytest.mark.parametrize("is_live", [True, False])
def test_what_a_trial_kept_is_not_gone_through_at_each_report(
    tmp_path: Path, is_live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, epochs, listed = tmp_path / "run", range(1, 41), list[Path]()
    where, board, real = folder / "trials" / "t0000" / "media", TensorBoard(folder), os.listdir
    for epoch in epochs:
        media.write(where, "note", epoch, f"in {epoch}")
    counted = Counted(tensorboard.MEDIUM)
    monkeypatch.setattr(tensorboard, "MEDIUM", counted)
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or real(path))
    later = board._since + 1 if is_live else 0.0
    reports = [reported("t0000", epoch, score=0.1) for epoch in epochs]
    ended = reported("t0000", 41, end="finished", score=0.1)
    records = by_hand(experiment(budget={"trials": 1, "epochs": 41}), suggested("t0000", x=0.5), *reports, ended)
    shown([replace(record, time=later) for record in records], board)
    monkeypatch.undo()
    assert len(counted.seen) <= 6 * len(epochs)
    assert is_live or listed == [where, where]  # at the trial's begin, and at its end
    points = multiplexer(folder).Tensors("t0000", "note/text_summary")
    assert [(point.step, point.tensor_proto.string_val[0].decode()) for point in points] == [
        (epoch, f"in {epoch}") for epoch in epochs
    ]


def test_histograms(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    where, values = folder / "trials" / "t0000" / "media", np.random.default_rng(0).normal(size=(7, 5, 3))
    media.write(where, "weights.0", 1, values, histogram=True)
    media.write(where, "same", 1, [2.0, 2.0, math.inf], histogram=True)
    media.write(where, "none", 1, [math.nan], histogram=True)
    media.write(where, "large", 1, [1e17, 1e17], histogram=True)
    shown(by_hand(experiment(), suggested("t0000", x=0.5), reported("t0000", 1, score=0.1)), TensorBoard(folder))
    events = multiplexer(folder)
    metadata = events.SummaryMetadata("t0000", "weights.0")
    assert metadata.plugin_data.plugin_name == "histograms"
    (one,) = events.Tensors("t0000", "weights.0")
    bins = make_ndarray(one.tensor_proto)  # of shape (bins, 3): left edge, right edge, count
    counts, edges = np.histogram(values, bins=media.BINS)
    assert one.step == 1
    assert np.allclose(bins[:, 1], edges[1:]) and np.allclose(bins[:, 0], edges[:-1])
    assert np.array_equal(bins[:, 2], counts)
    (same,) = events.Tensors("t0000", "same")
    assert make_ndarray(same.tensor_proto)[:, 2].sum() == 2
    (large,) = events.Tensors("t0000", "large")
    assert make_ndarray(large.tensor_proto)[:, 2].sum() == 2
    assert not any(tag.startswith("none") for tag in events.Runs()["t0000"]["tensors"])


def images(events: EventMultiplexer) -> dict[str, list[tuple[int, int, int]]]:
    found = {}
    for tag in events.Runs()["t0000"]["tensors"]:
        if events.SummaryMetadata("t0000", tag).plugin_data.plugin_name == "images":
            points = events.Tensors("t0000", tag)
            found[tag] = [(p.step, *(int(size) for size in p.tensor_proto.string_val[:2])) for p in points]
    return found


def test_a_live_run_can_be_watched(tmp_path: Path) -> None:
    (folder := tmp_path / "run").mkdir()
    records = by_hand(experiment(), suggested("t0000", x=0.5), reported("t0000", 1, score=0.1))
    shown(records, TensorBoard(folder), close=False)
    assert series(multiplexer(folder), "t0000", "score") == [(1, pytest.approx(0.1))]
    assert metrics_of(hparams(folder)[1]["t0000"])["score"] == pytest.approx(0.1)


def test_a_run_that_is_stopped_ends_every_trial(tmp_path: Path) -> None:
    (folder := tmp_path / "run").mkdir()
    begun = [suggested("t0000", x=0.5), suggested("t0001", x=0.6), reported("t0001", 1, score=0.1)]
    shown(by_hand(experiment(), *begun, Asked(trial=None)), TensorBoard(folder))
    _, groups = hparams(folder)
    assert {group.sessions[0].status for group in groups.values()} == {api_pb2.STATUS_FAILURE}
    assert len(groups) == 2


def test_no_file_stays_open_and_a_second_driver_begins_anew(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "run", experiment(scheduler={"kind": "asha", "promote": True}))
    before = len(list(Path("/proc/self/fd").iterdir()))
    board = TensorBoard(folder)
    shown(folder, board, close=False)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    first = series(multiplexer(folder), "t0000", "score")
    shown(folder, TensorBoard(folder))
    assert series(multiplexer(folder), "t0000", "score") == first


@pytest.mark.slow
def test_torch_is_not_imported() -> None:
    code = (
        "import sys, tuner.outputs.tensorboard as t\n"
        "assert not [m for m in sys.modules if m == 'torch' or m.startswith('torch.')], 'torch was imported'\n"
        "import torch\nassert torch.zeros(1).item() == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
