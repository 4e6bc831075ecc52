"""What the core may know, and that `decide` changes nothing."""

from __future__ import annotations

import ast
import copy
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner.core.events import Elapsed, Event, Failed, Free, Gone, Returned, StopAsked
from tuner.core.lines import to_json
from tuner.core.search.kinds import KINDS

from .experiments import CONDITIONAL, PLAIN, STEPPED, Hand, experiment

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

CORE = Path(__file__).parents[2] / "tuner" / "core"
OUTSIDE = {
    "ray", "torch", "time", "datetime", "os", "pathlib", "io", "shutil", "tempfile", "random", "secrets", "uuid",
    "socket", "subprocess", "threading", "asyncio", "concurrent",
}  # fmt: skip
"""Clocks, files, dice, threads and the engine: nothing that would make one run differ from another."""
ALLOWED = {CORE / "search" / "cmaes.py": {"io"}, CORE / "search" / "blas.py": {"threading"}}
"""A pickle is read with care from bytes in memory, which wants a file-like object; a lock keeps BLAS to one thread."""


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("file", sorted(CORE.rglob("*.py")), ids=lambda file: str(file.relative_to(CORE)))
def test_no_file_of_the_core_imports_a_clock_a_file_or_the_engine(file: Path) -> None:
    names = {name.split(".")[0] for name in imported(file)}
    assert not names & (OUTSIDE - ALLOWED.get(file, set()))
    assert not any(isinstance(node, ast.Name) and node.id == "open" for node in ast.walk(ast.parse(file.read_text())))
    if "search" not in file.parts:
        assert not names & {"numpy", "scipy", "optuna"}, "a library's upgrade must change no decision of a rule"
    tuner = {name for name in imported(file) if name.startswith("tuner.")}
    assert all(name.startswith(("tuner.core", "tuner.spec", "tuner.errors", "tuner.spelled")) for name in tuner)


def test_importing_the_core_loads_neither_ray_nor_torch() -> None:
    code = (
        "import sys, tuner.core.run, tuner.core.search.kinds, tuner.simulate, tuner.ledger;"
        "print([name for name in ('ray', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CORE.parents[1])
    assert done.stdout.strip() == "[]"


def events(run: Hand) -> list[Event]:
    """Every kind of event, for trials in every status."""
    found: list[Event] = [Free(), StopAsked(), Elapsed(seconds=1.0), Elapsed(seconds=1e9)]
    for name, trial in run.core.run.trials.items():
        found += [run.reported(name, trial.epoch + 1, value) for value in (0.0, 0.5, 99.0, math.nan)]
        found += [run.reported(name, trial.epoch, 0.5), run.reported(name, 9, 0.5)]
        found += [Returned(trial=name), Gone(trial=name, reason="x"), StopAsked(trial=name)]
        found += [Failed(trial=name, outcome="failed", reason="x", error="y")]
    return found


def snapshot(run: Hand) -> tuple[Any, str]:
    """All that a run knows, as a copy and as text."""
    state = vars(run.core.run)
    return copy.deepcopy({name: value for name, value in state.items() if name != "spec"}), repr(state)


SCHEDULERS: dict[str, dict[str, Any]] = {
    "stopping": {"kind": "asha"},
    "promoting": {"kind": "asha", "promote": True},
    "hyperband": {"kind": "hyperband"},
    "median": {"kind": "median", "min_trials": 1},
    "pbt": {"kind": "pbt"},
    "none": {"kind": "none"},
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_decide_changes_nothing_and_decides_the_same_again(scheduler: str) -> None:
    spec = experiment(
        scheduler=SCHEDULERS[scheduler],
        space=CONDITIONAL,
        search={"kind": "tpe", "startup": 1},
        budget={"trials": 6, "epochs": 9, "hours": 1.0, "target": 50.0},
    )
    run = Hand(spec, slots=6)
    for _ in range(5):
        run.do(Free())
    for name, value in zip(run.core.run.trials, (0.3, 0.9, 0.1, 0.5), strict=False):
        run.report(name, 1, value)
    answered = set()
    for event in events(run):
        before, text = snapshot(run)
        first = run.core.decide(event)
        again = run.core.decide(event)
        after, _ = snapshot(run)
        assert after == before
        assert snapshot(run)[1] == text
        assert (first and to_json(first)) == (again and to_json(again))
        answered.add(first and first.kind)
    assert answered >= {None, "report", "ended", "lost", "asked", "tick"}


@pytest.mark.parametrize("kind", KINDS)
def test_asking_for_a_trial_without_taking_it_in_changes_nothing(kind: str) -> None:
    """A suggestion that could not be written down is made again as it was, and those after it are the same."""
    space = STEPPED if kind == "grid" else PLAIN

    def params(asks: int) -> list[dict[str, Any]]:
        run = Hand(experiment(space=space, search={"kind": kind}, budget={"trials": 8, "epochs": 1}))
        for number in range(8):
            for _ in range(asks - 1):
                run.core.decide(Free())
            run.do(Free())
            run.report(f"t{number:04d}", 1, number / 10)
        return [trial.params for trial in run.core.run.trials.values()]

    assert params(asks=3) == params(asks=1)
