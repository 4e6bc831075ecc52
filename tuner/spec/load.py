"""Load an experiment from its YAML, and report all that is wrong with it at once."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.errors import Problem, UserError
from tuner.spec import bind, extremes, pausing
from tuner.spec.draft import Draft, dotted
from tuner.spec.experiment import Experiment
from tuner.spec.keys import check_keys
from tuner.spec.loggers import not_installed
from tuner.spec.model import Broken, Place
from tuner.spec.modules import BindError
from tuner.spec.resources import refuse_ranks
from tuner.spec.validate import validate
from tuner.spec.words import did_you_mean, shown
from tuner.spec.yaml_nodes import Parsed, YamlError, parse

MOST_BYTES = 1_000_000
_BESIDE = Path(__file__).resolve().parents[2]
"""The clone, or where the package is installed: the shipped search spaces lie there too."""


@dataclass(frozen=True)
class Loaded:
    """An experiment that holds, the file it was read from, and the functions it names."""

    experiment: Experiment
    file: Path
    trainable: bind.Trainable
    test: bind.Trainable | None
    function: Callable[..., Any] | None = None
    """The trainable itself, where it was given as an object that cannot be imported."""
    runs_at: tuple[str, ...] = ()
    """Where each of `start.runs` was written."""
    missing: tuple[Problem, ...] = ()
    """What is not installed here, and has to be where the run is driven."""

    def refuse_missing(self) -> None:
        """Raise UserError where the run would need what is not installed here."""
        if self.missing:
            raise UserError(*self.missing)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """Load a YAML file, a path or a name under search_spaces/. Raises UserError with every problem."""
    file = find(path)
    draft = _read(file)
    for override in overrides:
        _override(draft, override)
    return _finish(draft, file)


def from_mapping(mapping: dict[str, Any], folder: Path, overrides: Sequence[str] = (), is_new: bool = True) -> Loaded:
    """Load an experiment from plain values; `folder` stands for that of the YAML. Raises UserError.

    `trainable` may be a function itself. The values of a run that was begun before are taken as they are.
    """
    draft = Draft()
    function = mapping.get("trainable")
    bound = _given(function) if callable(function) else None
    if bound is not None:
        mapping = {**mapping, "trainable": bound.trainable.ref}
    draft.value = _plain(mapping, (), draft)
    for override in overrides:
        _override(draft, override)
    loaded = _finish(draft, Path(folder).absolute() / "spec.yaml", bound, is_new)
    return replace(loaded, function=function) if loaded.trainable.module == bind.MAIN else loaded


def _given(function: Callable[..., Any]) -> bind.Bound:
    try:
        return bind.given(function)
    except BindError as error:
        raise UserError(Problem("spec", "trainable", error.what, error.fix)) from None


def revised(mapping: dict[str, Any], overrides: Sequence[str]) -> Experiment:
    """Put `KEY=VALUE` texts over plain values, and check them; no function is looked for. Raises UserError."""
    draft = Draft()
    draft.value = _plain(mapping, (), draft)
    for override in overrides:
        _override(draft, override)
    check_keys(draft)
    experiment = validate(draft)
    for broken in extremes.check_scheduler(experiment.scheduler) if experiment is not None else ():
        draft.report(broken)
    if draft.problems or experiment is None:
        raise UserError(*sorted(draft.problems, key=_by_line))
    return experiment


def find(path: str | Path) -> Path:
    """Find a YAML file by its path or by its name under search_spaces/. Raises UserError."""
    path = Path(path).expanduser()
    folders = [Path.cwd(), Path.cwd() / "search_spaces", _BESIDE / "search_spaces"]
    for folder in folders:
        for name in (path, path.with_name(f"{path.name}.yaml")) if path.name else ():
            if (folder / name).is_file():
                return folder / name
    raise UserError(_not_found(path, folders))


def _not_found(path: Path, folders: list[Path]) -> Problem:
    near = [folder / path.parent for folder in folders]
    names = {file.name: None for folder in near if folder.is_dir() for file in sorted(folder.glob("*.y*ml"))}
    looked = f"Looked in {', '.join(str(folder) for folder in dict.fromkeys(folders))}."
    got = "a folder" if path.is_dir() else "no such file"
    return Problem(str(path), "", f"must be a YAML file, but got {got}", did_you_mean(path.name, names, looked))


def _read(file: Path) -> Draft:
    name = _short(file)
    try:
        parsed = parse(_text(file, name))
    except YamlError as error:
        raise UserError(Problem(f"{name}:{error.line}", "", error.what, error.fix)) from None
    if not isinstance(parsed.value, dict):
        empty = parsed.value is None
        got = "an empty file" if empty else shown(parsed.value)
        what = f"must be a mapping of keys (trainable, objective, ...), but got {got}"
        no_space = isinstance(parsed.value, str) and ":" in parsed.value
        fix = "Write a space after each colon." if no_space else "Start from search_spaces/debug.yaml."
        raise UserError(Problem(f"{name}:1", "", what, fix))
    wheres = {place: f"{name}:{line}" for place, line in parsed.lines.items()}
    draft = Draft(parsed.value, wheres)
    _refuse_all(draft, parsed, ())
    return draft


def _text(file: Path, name: str) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(Problem(name, "", f"must be a file that can be read, but got {error.strerror}",
                                "Check its permissions.")) from None  # fmt: skip
    if len(data) > MOST_BYTES:
        raise UserError(Problem(name, "", f"must be at most {MOST_BYTES:,} bytes, but got {len(data):,}",
                                "Name the YAML file, not its data."))  # fmt: skip
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(Problem(f"{name}:1", "", "must be UTF-8, but got UTF-16", "Save the file as UTF-8."))
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise UserError(Problem(f"{name}:{line}", "", "must be text, but got a binary file", "Name the YAML file."))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise UserError(Problem(f"{name}:{line}", "", f"must be UTF-8, but got the byte {byte:#04x}",
                                "Save the file as UTF-8.")) from None  # fmt: skip


def _override(draft: Draft, override: str) -> None:
    """Put `KEY=VALUE` into the draft, the value read by the rules of YAML."""
    where = f"--set {override}"
    key, _, text = override.partition("=")
    if not re.fullmatch(r"[^\s.=]+(\.[^\s.=]+)*", key) or not text.strip():
        draft.problems.append(Problem(where, "", f"must be KEY=VALUE, but got {shown(override)}",
                                      "Write --set budget.trials=8, say."))  # fmt: skip
        return
    place: Place = tuple(key.split("."))
    try:
        parsed = parse(text)
    except YamlError as error:
        draft.problems.append(Problem(where, key, error.what, error.fix))
        return
    if _way_to(draft, place, where):
        wheres = {(*place, *below): where for below in parsed.lines}
        draft.put(place, parsed.value, wheres)
        _refuse_all(draft, parsed, place)


def _way_to(draft: Draft, place: Place, where: str) -> bool:
    """Make the mappings above a key; report the first that is something else."""
    around = draft.value
    for length, key in enumerate(place[:-1], start=1):
        if str(key) not in around:
            draft.wheres[place[:length]] = where
        around = around.setdefault(str(key), {})
        if not isinstance(around, dict):
            path = ".".join(str(part) for part in place[:length])
            what = f"must be a mapping for {'.'.join(map(str, place))} to be set in it, but got {shown(around)}"
            draft.problems.append(Problem(where, path, what, f"Set all of {path}, or correct the key."))
            return False
    return True


def _refuse_all(draft: Draft, parsed: Parsed, at: Place) -> None:
    for broken in parsed.problems:
        draft.refuse((*at, *broken.place), broken.what, broken.fix)


def _finish(draft: Draft, file: Path, given: bind.Bound | None = None, is_new: bool = True) -> Loaded:
    check_keys(draft)
    bound = given or _find(draft, "trainable", file.parent)
    if bound is not None:
        pausing.choose_search(draft, bound)
    experiment = validate(draft)
    trainable = _fitting(draft, "trainable", bound)
    test = _fitting(draft, "test", _find(draft, "test", file.parent))
    for broken in extremes.check(experiment) if experiment is not None and is_new else ():
        draft.report(broken)
    if experiment is not None and trainable is not None and trainable.plain_ray:
        for broken in refuse_ranks(experiment.resources, f"{trainable.function}(config) is a plain Ray function"):
            draft.report(broken)
    if draft.problems or experiment is None or trainable is None:
        raise UserError(*sorted(draft.problems, key=_by_line))
    missing = [Problem(draft.where(b.place), dotted(b.place), b.what, b.fix) for b in not_installed(experiment.loggers)]
    runs_at = tuple(draft.where(("start", "runs", place)) for place in range(len(experiment.start.runs)))
    return Loaded(experiment, file, trainable, test, runs_at=runs_at, missing=tuple(missing))


def _find(draft: Draft, key: str, folder: Path) -> bind.Bound | None:
    ref = draft.value.get(key)
    if not isinstance(ref, str) or draft.is_refused((key,)):
        return None
    try:
        return bind.find(ref, folder)
    except BindError as error:
        draft.refuse((key,), error.what, error.fix)
        return None


def _fitting(draft: Draft, key: str, bound: bind.Bound | None) -> bind.Trainable | None:
    """Report where the YAML and the function do not fit."""
    if bound is None:
        return None
    for broken in _misfits(draft, bound, key):
        draft.report(broken)
    return bound.trainable


def _misfits(draft: Draft, bound: bind.Bound, key: str) -> Iterator[Broken]:
    yield from bind.check(bound, draft.mapping("space"), draft.mapping("fixed"), key)
    for section, kind in (("scheduler", "pbt"), ("search", "auto"), ("scheduler", "auto")):
        if key == "trainable" and draft.mapping(section).get("kind") == kind:
            yield from pausing.check_kind(bound, section, kind)
            break
    if key == "trainable" and draft.mapping("scheduler").get("promote") is True:
        yield from pausing.check_promoting(bound)


def _by_line(problem: Problem) -> float:
    """Sort by the lines of the file, and what came by flags after them."""
    line = problem.where.rpartition(":")[2]
    flag = problem.where.startswith("--")
    return int(line) if line.isdecimal() and not flag else math.inf


def _short(file: Path) -> str:
    """Name a file as people do: from the current folder where it lies below it."""
    here = Path.cwd()
    file = Path(os.path.normpath(file))
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)


def _plain(value: Any, place: Place, draft: Draft) -> Any:
    """Turn tuples into lists, as YAML has them, and report what YAML cannot hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item, (*place, str(key)), draft) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*place, i), draft) for i, item in enumerate(value)]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        draft.refuse(place, "must be a whole number of 64 bits, but got a larger one", "Use a smaller number.")
        return None
    if value is None or type(value) in (bool, int, float, str):
        return value
    draft.refuse(place, f"must be a value that YAML can hold, but got {type(value).__name__}",
                 "Give a number, a text, a bool, None, a list or a dict.")  # fmt: skip
    return None


def describe(loaded: Loaded) -> str:
    """Say in a line what a run does."""
    spec = loaded.experiment
    kinds = "auto" if spec.search.kind == "auto" else f"{spec.scheduler.kind} + {spec.search.kind}"
    begins = spec.start.told(spec.search.kind, spec.trials)
    return (
        f"{spec.trials} trials of up to {spec.budget.epochs} epochs of {loaded.trainable.ref}, "
        f"{kinds}, {spec.goal}"
        f"{', from ' + begins if begins else ''}"
    )
