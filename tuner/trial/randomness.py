"""The random states of Python, numpy and torch, as far as they are imported, or will be."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def seed_all(seed: int) -> None:
    """Seed every generator that is there, and those of numpy and torch when they are imported later."""
    random.seed(seed)
    for name, seed_one in SEEDED.items():
        if name in sys.modules:
            seed_one(seed)
    _AT_IMPORT.seed, _AT_IMPORT.process = seed, os.getpid()
    if _AT_IMPORT not in sys.meta_path:
        sys.meta_path.insert(0, _AT_IMPORT)


def leave_imports_alone() -> None:
    """Seed nothing any more when it is imported."""
    if _AT_IMPORT in sys.meta_path:
        sys.meta_path.remove(_AT_IMPORT)


def _numpy(seed: int) -> None:
    import numpy as np

    np.random.seed(seed % 2**32)


def _torch(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


SEEDED: dict[str, Callable[[int], None]] = {"numpy": _numpy, "torch": _torch}


class _AtImport(MetaPathFinder):
    """Seeds a library when a function imports it in its body: to import it before would make each trial wait."""

    def __init__(self) -> None:
        self.seed, self.process = 0, 0
        self._found: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a library as all others do, and have it seeded once it is there."""
        if name not in SEEDED or name in self._found:
            return None
        self._found.add(name)  # the others are asked now
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._found.discard(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_seed(module: ModuleType) -> None:
                run(module)
                if os.getpid() == self.process:  # a function's own forks shall not all draw the same
                    SEEDED[name](self.seed)

            spec.loader.exec_module = run_and_seed  # type: ignore[method-assign]
        return spec


_AT_IMPORT = _AtImport()


def capture() -> dict[str, Any]:
    """Read all random states, as plain data that `weights_only` and JSON take."""
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {"python": [version, list(words), gauss]}
    if "numpy" in sys.modules:
        import numpy as np

        name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        states["numpy"] = [name, np.asarray(keys).tolist(), position, has_gauss, cached]
    if "torch" in sys.modules:
        import torch

        states["torch"] = torch.get_rng_state()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore(states: dict[str, Any]) -> None:
    """Set all random states that were captured."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    if "numpy" in states:
        import numpy as np

        name, keys, position, has_gauss, cached = states["numpy"]
        np.random.set_state((name, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))
    if "torch" in states:
        import torch

        torch.set_rng_state(states["torch"])
        if "cuda" in states and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
