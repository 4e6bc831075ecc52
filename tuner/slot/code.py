"""Which function to run, and how to import it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A function of the user's. Plain data: it travels between processes."""

    module: str
    function: str
    file: str | None = None
    """Absolute path, where the function was named by file."""
    root: str = ""
    """Folder that is searched before all others; the current one comes next."""
    plain_ray: bool = False
    """A function for Ray Tune: `def train(config)`."""
    pickled: bytes = b""
    """The function itself, by cloudpickle, where it cannot be imported."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """The params that all trials share."""
    cwd: str = field(default_factory=os.getcwd)

    def moved(self, folder: str, to: str) -> Code:
        """Name the same function in a copy of a folder; what lies elsewhere stays."""

        def there(place: str) -> str:
            inside = Path(place).is_relative_to(folder)
            return str(Path(to) / Path(place).relative_to(folder)) if inside else place

        file = there(self.file) if self.file else None
        return replace(self, root=there(self.root), cwd=there(self.cwd), file=file)

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function."""
        front = list(dict.fromkeys(folder for folder in (self.root, self.cwd) if folder))
        if sys.path[: len(front)] != front:
            sys.path[:0] = front
        if self.pickled:
            return self._unpickled()
        _prefer_folders(self.module.partition(".")[0], front)
        function: Callable[..., Any] = getattr(self._module(), self.function)
        return function

    def warm_up(self) -> None:
        """Call the module's own `warm_up`, if it has one, with those of the fixed params that it names."""
        function = None if self.pickled else getattr(self._module(), "warm_up", None)
        if function is not None:
            names = inspect.signature(function).parameters
            function(**{name: value for name, value in self.fixed.items() if name in names})

    def _module(self) -> Any:
        return self._from_file(self.file) if self.file else importlib.import_module(self.module)

    def _unpickled(self) -> Callable[..., Any]:
        function: Callable[..., Any] = pickle.loads(self.pickled)
        return function

    def _from_file(self, file: str) -> Any:
        name = self.module
        if (known := sys.modules.get(name)) is not None:
            if getattr(known, "__file__", None) == file:
                return known
            name = f"trainable_{name}"  # a user's `queue.py` or `tuner.py` must not replace the one that is imported
        if name in sys.modules:
            return sys.modules[name]
        return _execute(name, file)


def _prefer_folders(name: str, front: list[str]) -> None:
    """Take a user's folder without `__init__.py` before an installed package, which Python would prefer."""
    if name in sys.modules:
        return
    spec = PathFinder.find_spec(name, front)
    if spec is not None and spec.origin is None:
        sys.modules[name] = importlib.util.module_from_spec(spec)


def _execute(name: str, file: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # else the next one who asks would get half a module
        raise
    return module
