"""What a trial's error says beside torch's own text."""

from __future__ import annotations

import pytest

from tuner.slot.slot import Slot

from .bench import Bench

pytestmark = pytest.mark.slow

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 2))

    def forward(self, x):
        return self.body(x)

def train(trial, line):
    exec(line)
"""


@pytest.fixture(scope="module")
def slot(shared: Bench) -> Slot:
    return shared.slot(MODEL)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "Net()(torch.zeros(3, 4))",
            "mat1 and mat2 shapes cannot be multiplied (3x8 and 9x2) (in the layer body.2 "
            "(Linear(in_features=9, out_features=2, bias=True)): what comes in does not fit it)",
        ),
        ("nn.Conv2d(3, 4, 3)(torch.zeros(1, 5, 8, 8))", "in the layer Conv2d (Conv2d(3, 4, kernel_size=(3, 3)"),
        ("raise RuntimeError('WorkNCCL(SeqNum=3) ran for 600 ms before timing out.')", "another rank made fewer steps"),
        ("raise RuntimeError('CUDA error: device-side assert triggered')", "a label or an index is out of range"),
    ],
)
def test_an_error_of_torchs_is_explained(slot: Slot, bench: Bench, line: str, said: str) -> None:
    (event,) = bench.run(slot, bench.assignment(params={"line": line}))
    assert event["event"] == "failed"
    assert said in event["reason"]


@pytest.mark.parametrize(
    "line", ["raise RuntimeError('no')", "raise ValueError('size of tensor a')", "torch.ones(2) @ 3"]
)
def test_other_errors_stay_as_they_are(slot: Slot, bench: Bench, line: str) -> None:
    (event,) = bench.run(slot, bench.assignment(params={"line": line}))
    assert "(in the layer" not in event["reason"]
    assert "most often" not in event["reason"]
