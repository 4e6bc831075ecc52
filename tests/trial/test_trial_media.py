"""Texts and images that a trial logs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tuner import Trial
from tuner.errors import UserError

from .study import Heard, assignment, run


def logged(tmp_path: Path, what: Any) -> np.ndarray:
    Trial(assignment(tmp_path), Heard()).log("x", what)
    return np.asarray(Image.open(tmp_path / "trials" / "t0" / "media" / "e0001_x.png"))


def test_files_are_named_by_epoch_and_name(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.log("before", "größer")
        for epoch in trial.epochs():
            trial.log("val/../text", f"in {epoch}")
            trial.report(loss=1)

    run(train, assignment(tmp_path, epochs=2))
    media = tmp_path / "trials" / "t0" / "media"
    assert {path.name: path.read_text() for path in media.iterdir()} == {
        "e0001_before.txt": "größer",
        "e0001_val%2F..%2Ftext.txt": "in 1",
        "e0002_val%2F..%2Ftext.txt": "in 2",
    }


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must have a name that a file can have, but got one of 260 letters"):
        Trial(assignment(tmp_path), Heard()).log("x" * 260, "text")


@pytest.mark.parametrize(
    "shape",
    [(5, 7), (5, 7, 3), (3, 5, 7), (1, 5, 7), (5, 7, 1), (1, 7, 3)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_images_of_these_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    expected = image.transpose(1, 2, 0) if shape in ((3, 5, 7), (1, 5, 7)) else image
    assert np.array_equal(logged(tmp_path, image), expected.squeeze(2) if expected.shape[2:] == (1,) else expected)


@pytest.mark.parametrize(
    ("image", "pixels"),
    [
        (np.array([[0.0, 1.0, 0.5, 2.0, -1.0, np.nan, np.inf]]), [0, 255, 128, 255, 0, 0, 255]),
        (np.array([[0, 255, 300, -5]]), [0, 255, 255, 0]),
        (np.array([[True, False]]), [255, 0]),
        (torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16, requires_grad=True), [0, 255]),
        (torch.tensor([[0, 200]], dtype=torch.uint8), [0, 200]),
        ([[0.0, 1.0]], [0, 255]),
    ],
)
def test_values_of_these_kinds(tmp_path: Path, image: Any, pixels: list[int]) -> None:
    assert logged(tmp_path, image).tolist() == [pixels]


@pytest.mark.parametrize(
    "what",
    [
        torch.tensor([[1.0, 2.0], [2.0, 5.0]], dtype=torch.bfloat16, requires_grad=True),
        np.array([1, 2, 2, 5]),
        [1.0, 2.0, 2.0, 5.0, math.nan],
    ],
)
def test_histograms_are_kept_as_counts(tmp_path: Path, what: Any) -> None:
    Trial(assignment(tmp_path), Heard()).log("layer/1", what, histogram=True)
    kept = json.loads((tmp_path / "trials" / "t0" / "media" / "e0001_layer%2F1.histogram.json").read_text())
    assert (kept["count"], kept["min"], kept["max"], kept["sum"], kept["sum_of_squares"]) == (4, 1, 5, 10, 34)
    assert kept["not_finite"] == (len(what) == 5)
    assert (len(kept["counts"]), len(kept["edges"]), sum(kept["counts"])) == (64, 65, 4)


@pytest.mark.parametrize(
    "what",
    [
        np.full(5, 1e17),
        np.array([1.0, np.nextafter(1.0, 2.0)]),
        np.array([1.7e308, -1.7e308]),
        np.full(2, np.finfo(np.float64).max),
        np.array([0.0, 5e-324]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_values_that_64_bins_do_not_fit_are_in_one(tmp_path: Path, what: np.ndarray) -> None:
    Trial(assignment(tmp_path), Heard()).log("x", what, histogram=True)
    text = (tmp_path / "trials" / "t0" / "media" / "e0001_x.histogram.json").read_text()
    kept = json.loads(text)
    assert kept["counts"] == [len(what)]
    (low, high) = kept["edges"]
    assert low <= what.min() <= what.max() <= high
    assert low < high
    assert "Infinity" not in text and "NaN" not in text


def test_a_histogram_needs_numbers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trial\.log\('x'\): must be numbers for a histogram, but got an array of <U1"):
        Trial(assignment(tmp_path), Heard()).log("x", ["a"], histogram=True)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5, 7), (5, 7, 4), (1, 1, 1, 1), (0, 5), (3, 0, 5)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"trial\.log\('x'\): must be a text or an image, but got an array of shape"):
        logged(tmp_path, np.zeros(shape))


@pytest.mark.parametrize("what", [[["a", "b"]], np.zeros((2, 2), dtype=complex), [[None]]])
def test_other_kinds_are_refused(tmp_path: Path, what: Any) -> None:
    with pytest.raises(UserError, match=r"must be a text or an image, but got an array of"):
        logged(tmp_path, what)
