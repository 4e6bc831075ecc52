"""The methods by name: this service's own kinds, and peers from their own packages."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.replay.tables import SMOOTH, Task
from benchmarks.replay.trace import Terms, Trace

SYNE = "TUNER_SYNE_PYTHON"
"""Environment variable: the interpreter of the environment that Syne Tune is installed in."""


@dataclass(frozen=True)
class Method:
    """How a method is run: `run(task, terms, **given)` of a module of this folder."""

    about: str
    module: str
    given: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ("optuna",)
    """Whose versions are written down; the last one is what it needs."""
    elsewhere: str = ""
    """Environment variable with another interpreter; this one where it is empty."""

    @property
    def python(self) -> str:
        """The interpreter that it runs in."""
        return os.environ.get(self.elsewhere, "") or sys.executable if self.elsewhere else sys.executable

    def plays(self, task: Task) -> bool:
        """Tell whether a task is new to it: in a smooth one, a table's configs are what they were."""
        return not task.family.endswith(SMOOTH) or not (self.given.get("on_table") or self.module == "bounds")

    def missing(self) -> str:
        """Tell why it cannot run here; empty where it can."""
        if _has(self.python, self.packages[-1]):
            return ""
        where = f" of the environment in {self.elsewhere}" if self.elsewhere else ""
        return f"{self.packages[-1]} is not installed{where}"

    def run(self, task: Task, terms: Terms) -> Trace:
        """Run it on a table."""
        return importlib.import_module(f"benchmarks.replay.{self.module}").run(task, terms, **self.given)


def _own(about: str, search: dict[str, Any], scheduler: dict[str, Any], on_table: bool = False) -> Method:
    given = {"parts": {"search": search, "scheduler": scheduler}, "on_table": on_table}
    return Method(about, "ours", given)


def _bound(about: str, arms: int) -> Method:
    return Method(about, "bounds", {"arms": arms})


RANDOM, TPE, AUTO = {"kind": "random"}, {"kind": "tpe"}, {"kind": "auto"}
PAPER = {"kind": "asha", "quota": False}
METHODS: dict[str, Method] = {
    "random": _own("random params, every trial to its last epoch", RANDOM, {"kind": "none"}),
    "random-asha": _own("random params, stopping ASHA as in its paper", RANDOM, PAPER),
    "random-quota": _own("random params, stopping ASHA with its quota", RANDOM, {"kind": "asha"}),
    "random-promote": _own("random params, promotion ASHA", RANDOM, {"kind": "asha", "promote": True}),
    "random-hyperband": _own("random params, Hyperband's brackets, stopping", RANDOM, {"kind": "hyperband"}),
    "tpe-asha": _own("TPE, stopping ASHA as in its paper", TPE, PAPER),
    "tpe-promote": _own("TPE, promotion ASHA", TPE, {"kind": "asha", "promote": True}),
    "auto": _own("freeze-thaw, candidates of its own", AUTO, {"kind": "auto"}),
    "auto-table": _own("freeze-thaw, the table's configs as candidates", AUTO, {"kind": "auto"}, on_table=True),
    "ray-guide": Method("Ray's OptunaSearch and ASHAScheduler as in its guide", "peer_ray", packages=("optuna", "ray")),
    "optuna": Method("Optuna alone: TPESampler and HyperbandPruner", "peer_optuna"),
    "syne-asha": Method("Syne Tune's ASHA", "peer_syne", {"kind": "ASHA"}, ("syne-tune",), SYNE),
    "syne-cqr": Method("Syne Tune's ASHACQR", "peer_syne", {"kind": "ASHACQR"}, ("syne-tune",), SYNE),
    "bound-ranking": _bound("a bound: promotion ASHA whose rungs rank by the end, random params", 1),
    "bound-arms": _bound("a bound: the same, each new trial the best of five random ones", 5),
}


@cache
def _has(python: str, package: str) -> bool:
    return bool(_version(python, package))


def versions(method: Method) -> str:
    """Name the versions of a method's packages, as its own interpreter has them."""
    return ", ".join(f"{name} {_version(method.python, name) or 'missing'}" for name in method.packages)


@cache
def _version(python: str, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    if not Path(python).exists():
        return ""
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
