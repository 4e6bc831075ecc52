"""Read a function's signature from its source, without running any of it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.spec.modules import BindError, Source, locate
from tuner.spec.words import did_you_mean

KEEPS_SIGNATURE = {"no_grad", "enable_grad", "inference_mode", "no_type_check", "final", "override", "typechecked"}
"""Decorators, by their last name, after which a function still takes what its `def` says."""
CALLBACK = "TrialCallback"
"""The class of `tuner.integrations` that tracks for the trainers of Lightning and Hugging Face."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function."""

    annotation: ast.expr | None
    required: bool
    none_by_default: bool
    default: ast.expr | None = None
    """As it is written there."""


@dataclass(frozen=True)
class Signature:
    """What the source says about a function."""

    name: str
    file: Path
    line: int
    positional: tuple[str, ...]
    """Parameters that can be given by position, with the first."""
    first_annotation: ast.expr | None
    parameters: dict[str, Parameter]
    """Those that are given by keyword: all but the first."""
    takes_any: bool
    """There is a `**kwargs`."""
    certain: bool
    """No decorator may change what is taken."""
    may_track: bool
    """It calls `trial.track`, or hands the trial to something that might."""
    tracks: bool
    """It names `trial.track` itself, or gives the trial to a callback that calls it."""
    suggested: tuple[str, ...] = ()
    """What it asks for by `trial.suggest_float("lr", ...)` and the like, as an objective of Optuna does."""

    @property
    def place(self) -> str:
        """Name file and line for people."""
        return f"{self.file.name}:{self.line}"

    @property
    def defaults(self) -> dict[str, Any]:
        """Read the defaults that are plain values, by the names of their parameters."""
        found = {}
        for name, parameter in self.parameters.items():
            with suppress(ValueError):
                if parameter.default is not None:
                    found[name] = ast.literal_eval(parameter.default)
        return found


def read(name: str, source: Source, folders: Sequence[Path], hops: int = 1) -> Signature | None:
    """Read the signature of a function, following one re-export; None where the source cannot tell.

    Raises BindError where there is no such function, or something that cannot be one.
    """
    tree = parse_file(source.file)
    bound = dict(_bound(tree.body))
    statement = bound.get(name)
    if statement is None:
        _check_hidden(name, source, bound, tree)
        return None
    if isinstance(statement, ast.ClassDef):
        raise BindError(f"must name a function, but got the class {name} ({source.file.name}:{statement.lineno})",
                        "Write a function that makes the object and calls it.")  # fmt: skip
    if isinstance(statement, ast.Import):
        raise BindError(f"must name a function, but got the module {name}", f"Write {name}:FUNCTION.")
    if isinstance(statement, ast.ImportFrom):
        return _follow(name, statement, source, folders, hops)
    if isinstance(statement, Function):
        return _signature(statement, source.file)
    return _alias(statement, bound, source.file)


def of_source(text: str, file: Path) -> Signature | None:
    """Read the signature of the one function that a text defines; None where it defines something else."""
    statement = ast.parse(text).body[0]
    return _signature(statement, file) if isinstance(statement, Function) else None


def parse_file(file: Path) -> ast.Module:
    """Parse a source file. Raises BindError that names file and line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes: Python says so itself when it imports the file
            return ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        got = f"a syntax error in {file}:{error.lineno or 1} ({error.msg})"
        raise BindError(f"must name a module that Python can read, but got {got}", "Correct it there.") from None
    except (ValueError, OSError, RecursionError) as error:
        raise BindError(f"must name a module that Python can read, but got {error} in {file}",
                        "Correct it there.") from None  # fmt: skip


def functions(tree: ast.Module) -> list[str]:
    """List the names of the functions that a module shows."""
    return [name for name, statement in dict(_bound(tree.body)).items()
            if isinstance(statement, Function) and not name.startswith("_")]  # fmt: skip


def _bound(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield every name that a module binds, and by which statement; a later one counts."""
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name, statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement
        else:
            for block in ("body", "orelse", "finalbody", "handlers"):
                yield from _bound(getattr(statement, block, ()))


def _check_hidden(name: str, source: Source, bound: dict[str, ast.stmt], tree: ast.Module) -> None:
    """Tell a name that is not there from one that only running the module would show."""
    if "*" in bound or "__getattr__" in bound:
        return
    fix = did_you_mean(name, names := functions(tree), "" if names else "It has no function.")
    raise BindError(f"must name a function of {source.file.name}, but got {name}", fix)


def _follow(
    name: str, statement: ast.ImportFrom, source: Source, folders: Sequence[Path], hops: int
) -> Signature | None:
    package = source.package.split(".")
    base = package[: len(package) - statement.level + 1] if statement.level else []
    module = ".".join([*base, *filter(None, [statement.module])])
    original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
    if hops == 0 or not module:
        return None
    try:
        target = locate(module, [source.root, *folders])
    except BindError:
        return None  # a package that is only there at run time, or compiled: the first trial will tell
    return read(original, target, folders, hops - 1)


def _alias(statement: ast.stmt, bound: dict[str, ast.stmt], file: Path) -> Signature | None:
    """Follow `train = _train`; a partial or a call can only be read by running it."""
    value = getattr(statement, "value", None)
    target = bound.get(value.id) if isinstance(value, ast.Name) else None
    if isinstance(value, ast.Constant):
        raise BindError(f"must name a function, but got the value {value.value!r}", "Name a function.")
    return _signature(target, file) if isinstance(target, Function) else None


def _signature(node: Function, file: Path) -> Signature:
    if isinstance(node, ast.AsyncFunctionDef):
        raise BindError(f"must name an ordinary function, but got an async one ({file.name}:{node.lineno})",
                        "Remove async, or call asyncio.run in it.")  # fmt: skip
    spec = node.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    parameters = dict(_parameters(positional, [*defaults, *spec.defaults]))
    if positional:
        parameters.pop(positional[0].arg)
    return Signature(
        name=node.name, file=file, line=node.lineno,
        positional=tuple(argument.arg for argument in positional),
        first_annotation=positional[0].annotation if positional else None,
        parameters=parameters | dict(_parameters(spec.kwonlyargs, spec.kw_defaults)),
        takes_any=spec.kwarg is not None,
        certain=all(_last_name(decorator) in KEEPS_SIGNATURE for decorator in node.decorator_list),
        may_track=not positional or _may_track(node, positional[0].arg),
        tracks=bool(positional) and _tracks(node, positional[0].arg),
        suggested=tuple(_suggested(node, positional[0].arg)) if positional else (),
    )  # fmt: skip


def _parameters(arguments: Sequence[ast.arg], defaults: Sequence[ast.expr | None]) -> Iterator[tuple[str, Parameter]]:
    for argument, default in zip(arguments, defaults, strict=True):
        none = isinstance(default, ast.Constant) and default.value is None
        yield argument.arg, Parameter(argument.annotation, default is None, none, default)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _may_track(node: Function, trial: str) -> bool:
    """Tell whether a function can call `trial.track`, as far as its own lines show."""
    uses = sum(isinstance(part, ast.Name) and part.id == trial for part in ast.walk(node))
    attributes = _used_of(node, trial)
    # A use that is no attribute hands the trial on, and what happens there is not followed.
    return "track" in attributes or uses > len(attributes)


def _tracks(node: Function, trial: str) -> bool:
    """Tell whether a function calls `trial.track` for certain: itself, or by the callback of `tuner.integrations`."""
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call) and _last_name(part) == CALLBACK]
    given = [value for call in calls for value in (*call.args, *(keyword.value for keyword in call.keywords))]
    handed = any(isinstance(value, ast.Name) and value.id == trial for value in given)
    return handed or "track" in _used_of(node, trial)


def _suggested(node: Function, trial: str) -> Iterator[str]:
    """Yield the params that a function asks the trial to suggest; `...` for one whose name is made as it runs."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and ast.unparse(part.func).startswith(f"{trial}.suggest_"):
            name = part.args[0] if part.args else None
            yield name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else "..."


def _used_of(node: Function, trial: str) -> list[str]:
    """List the attributes of the trial that a function names."""
    owners = [part for part in ast.walk(node) if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)]
    return [part.attr for part in owners if isinstance(part.value, ast.Name) and part.value.id == trial]
