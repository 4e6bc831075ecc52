"""Tables of learning curves, small enough to follow by hand, as `benchmarks/search.py` reads them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

CURVES = [[9.0, 5.0, 4.0], [9.0, 3.0, math.nan], [9.0, 2.0, 6.0], [9.0, math.nan, 1.0], [9.0, 7.0, 8.0]]
"""The untrained model, and two epochs. Best values: 4, 3, 2, none, 7; so the best is 2 and the median 4."""
RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def tiny(folder: Path) -> Path:
    """Five configs of two params, with the curves above."""
    (folder / "tiny").mkdir()
    hp = np.array([[rate, place] for place, rate in enumerate(RATES)])
    names, curves = np.array(["learning_rate", "layers"]), np.array([CURVES])
    np.savez(folder / "tiny" / "t.npz", tasks=np.array(["one"]), hp_names=names, hp=hp, valid_loss=curves)
    return folder


def larger(folder: Path) -> Path:
    """Forty configs of two params and six epochs, by a formula; some diverge."""
    random = np.random.default_rng(0)
    hp = np.stack([10 ** random.uniform(-4, 0, 40), random.integers(1, 9, 40)], axis=1)
    aim = np.abs(np.log10(hp[:, :1]) + 2) + np.abs(hp[:, 1:] - 4) / 8
    values = aim + np.exp(-np.arange(7)) * (1 + aim)
    values[hp[:, 0] > 0.5, 3:] = math.nan
    (folder / "made").mkdir()
    names = np.array(["learning_rate", "layers"])
    np.savez(folder / "made" / "m.npz", tasks=np.array(["bowl"]), hp_names=names, hp=hp, valid_loss=values[None])
    return folder
