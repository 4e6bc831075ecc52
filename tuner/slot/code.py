"""Which function to run, and how to import it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
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
    """Folder that is searched before all others."""
    plain_ray: bool = False
    """A function for Ray Tune: `def train(config)`."""
    cwd: str = field(default_factory=os.getcwd)

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function."""
        if self.root and sys.path[:1] != [self.root]:
            sys.path.insert(0, self.root)
        module = self._from_file(self.file) if self.file else importlib.import_module(self.module)
        function: Callable[..., Any] = getattr(module, self.function)
        return function

    def _from_file(self, file: str) -> Any:
        if self.module in sys.modules and getattr(sys.modules[self.module], "__file__", None) == file:
            return sys.modules[self.module]
        spec = importlib.util.spec_from_file_location(self.module, Path(file))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module] = module
        spec.loader.exec_module(module)
        return module
