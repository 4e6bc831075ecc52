"""Bind the names of a spec to a function's signature, read from its source."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from tuner.errors import UserError
from tuner.spec import signature as signatures
from tuner.spec.annotations import Allowed, allowed, kind_of
from tuner.spec.model import Broken, Place
from tuner.spec.modules import BindError, Source, locate
from tuner.spec.signature import Parameter, Signature
from tuner.spec.words import closest, did_you_mean, shown

MAIN = "__main__"
"""The module of a function that lives in a notebook or a script, and cannot be imported."""
COPIES = "/runtime_resources/working_dir_files/"
"""Where Ray keeps its copies of folders that travelled, each in one of its own."""
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Trainable:
    """A function that the spec names: where it is, and what kind it is."""

    ref: str
    """The text of the YAML."""
    module: str
    """The dotted name to import; the stem where `file` is given."""
    function: str
    file: Path | None
    """The absolute path of the .py, where the YAML gives a path."""
    root: Path
    """The absolute folder to put first on sys.path."""
    plain_ray: bool = False
    """A Ray Tune function `def train(config)`, instead of one that takes a `trial`."""
    checked: bool = True
    """The parameters were checked; otherwise the first trial will tell."""


@dataclass(frozen=True)
class Bound:
    """A trainable and its signature, None where the source cannot tell."""

    trainable: Trainable
    signature: Signature | None


def find(ref: str, folder: Path) -> Bound:
    """Find a function by its reference, beside the YAML first. Raises BindError."""
    target, colon, function = ref.rpartition(":")
    if not colon or not target or not function.isidentifier():
        raise BindError(f"must be module:function or path/to/file.py:function, but got {shown(ref)}", _ref_fix(ref))
    folder, here = folder.absolute(), Path.cwd()
    shipped = _inside_copy(here) is not None and not folder.is_relative_to(here)  # by whoever goes on with a run
    folders = list(dict.fromkeys([here, folder] if shipped else [folder, here]))
    is_path = target.endswith(".py") or "/" in target
    source = _file(target, folders) if is_path else _module(target, folders)
    signature = signatures.read(function, source, [source.root, *folders])
    file = source.file if is_path else None
    sure = signature is not None and signature.certain and not signature.takes_any
    plain = signature is not None and _is_plain_ray(signature)
    return Bound(Trainable(ref, source.module, function, file, source.root, plain, sure), signature)


def home(folder: Path) -> Path:
    """Tell where a run's folder is when the run goes on: that of a job lay in a copy, whose place a newer one takes."""
    inside = _inside_copy(folder)
    if inside is None:
        return folder
    return Path.cwd() / inside if (Path.cwd() / inside).is_dir() else Path.cwd()


def _inside_copy(folder: Path) -> Path | None:
    """Name a folder's place in the copy that Ray made of what travelled; None where it lies in none."""
    _, found, copy = folder.as_posix().rpartition(COPIES)
    return Path(*Path(copy).parts[1:]) if found else None


def given(function: Callable[..., Any]) -> Bound:
    """Bind a function that was given as an object: by its name where it can be imported, else by its source."""
    if not isinstance(function, FunctionType):
        raise UserError(
            f"trainable: must be a function, or the name of one, but got {shown(str(function))}. Write a def."
        )
    module, name = function.__module__, function.__qualname__
    if module != MAIN and getattr(sys.modules.get(module), name, None) is function:
        return find(f"{module}:{name}", Path.cwd())
    try:
        text, file = textwrap.dedent(inspect.getsource(function)), Path(inspect.getfile(function))
        signature = signatures.of_source(text, file)
    except (OSError, TypeError, SyntaxError):
        signature = None
    plain = signature is not None and _is_plain_ray(signature)
    ref = f"{MAIN}:{function.__name__}"
    return Bound(Trainable(ref, MAIN, function.__name__, None, Path.cwd(), plain, signature is not None), signature)


def check(bound: Bound, space: Mapping[str, Any], fixed: Mapping[str, Any], key: str = "trainable") -> Iterator[Broken]:
    """Yield what does not fit between the YAML's names and the function's parameters."""
    signature = bound.signature
    if signature is None:
        return
    if bound.trainable.plain_ray:
        yield from _plain_ray(signature, [*space, *fixed], key)
        return
    if not signature.certain:
        return
    if signature.suggested:
        yield _objective(signature, key)
        return
    if problem := _first_problem(signature, key):
        yield problem
        return
    for section, names in (("space", space), ("fixed", fixed)):
        for name, value in names.items():
            yield from _parameter(signature, (section, name), name, value)
    yield from _missing(signature, {*space, *fixed})


def _ref_fix(ref: str) -> str:
    target, _, function = ref.rpartition(":")
    if ref.endswith(".py"):
        return f"Write {ref}:train."
    if "." in function and target:
        return "Name a function of the module itself."
    if "." in ref and ":" not in ref:
        return f"Write {':'.join(ref.rsplit('.', 1))}."
    return f"Write {ref.strip(':') or 'my_module'}:train."


def _file(target: str, folders: list[Path]) -> Source:
    path = Path(target).expanduser()
    if path.suffix != ".py":
        raise BindError(f"must name a .py file or a dotted module, but got {target}", "Name a file that ends in .py.")
    for folder in folders:
        if (file := (folder / path).resolve()).is_file():
            return Source(file.stem, file, file.parent)
    near = [folder / path.parent for folder in folders]
    names = {str(path.parent / file.name): None for folder in near if folder.is_dir() for file in folder.glob("*.py")}
    looked = f"Looked in {', '.join(str(folder) for folder in folders)}."
    raise BindError(f"must name a file that exists, but got {target}", did_you_mean(target, names, looked))


def _module(target: str, folders: list[Path]) -> Source:
    if not _MODULE.fullmatch(target):
        raise BindError(f"must be module:function or path/to/file.py:function, but got {target}",
                        "Use dots between names, or end it in .py.")  # fmt: skip
    return locate(target, folders)


def _is_plain_ray(signature: Signature) -> bool:
    if len(signature.positional) != 1 or signature.positional[0] == "trial":
        return False
    return not (signature.parameters or signature.takes_any or _is_trial(signature.first_annotation))


def _is_trial(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation).strip("'\"").endswith("Trial")


def _plain_ray(signature: Signature, names: list[str], key: str) -> Iterator[Broken]:
    first = signature.positional[0]
    if signature.suggested:
        yield _objective(signature, key)
    elif key != "trainable":
        yield Broken((key,), f"must name a function that takes trial, but got {signature.name}({first})",
                     f"Write def {signature.name}(trial, **params).")  # fmt: skip
    elif first in names:
        yield Broken((key,), f"must name a function whose first parameter is trial, but got {_header(signature)}",
                     f"Write def {signature.name}(trial, *, {first}).")  # fmt: skip


def _objective(signature: Signature, key: str) -> Broken:
    """Tell who brings an objective of Optuna how its parameters come here."""
    what = "must name a function that takes its parameters by name"
    names = ", ".join(dict.fromkeys(signature.suggested))
    fix = f"Write def {signature.name}(trial, *, {names}), and their ranges under space."
    return Broken((key,), f"{what}, but got an objective of Optuna, {_header(signature)}", fix)


def _first_problem(signature: Signature, key: str) -> Broken | None:
    first, *others = signature.positional or ("",)
    rest = ", ".join([*others, *(name for name in signature.parameters if name not in others)] or ["..."])
    fix = f"Write def {signature.name}(trial, *, {rest})."
    if first != "trial":
        what = f"must name a function whose first parameter is trial, but got {_header(signature)}"
        keep = first and not _is_trial(signature.first_annotation)
        return Broken((key,), what, fix.replace("*, ", f"*, {first}, ").replace(", ...", "") if keep else fix)
    if others:
        what = f"must name a function that takes its parameters by name, after `*`, but got {_header(signature)}"
        return Broken((key,), what, fix)
    return None


def _header(signature: Signature) -> str:
    by_name = [name for name in signature.parameters if name not in signature.positional]
    names = [*signature.positional, *(["*", *by_name] if by_name else [])]
    return f"{signature.name}({', '.join(names)}) in {signature.place}"


def _parameter(signature: Signature, place: Place, name: str, value: Any) -> Iterator[Broken]:
    parameter = signature.parameters.get(name)
    if parameter is None:
        if not signature.takes_any and name.isidentifier():
            known = list(signature.parameters)
            yield Broken(place, f"must be a parameter of {signature.name} ({signature.place}), but got {name}",
                         did_you_mean(name, known, "" if known else "The function takes none but trial."))  # fmt: skip
        return
    conditional = place[0] == "space" and isinstance(value, dict) and bool(value.get("when"))
    if conditional and parameter.required:
        what = f"must stand at a parameter that has a default in the function, but got {name} of {signature.name}"
        fix = f"Give {name} a default there: it counts where the condition does not hold."
        yield Broken((*place, "when"), f"{what} ({signature.place}) without one", fix)
    if fitting := allowed(parameter.annotation):
        yield from _types(signature, place, parameter, fitting, value)


def _types(signature: Signature, place: Place, parameter: Parameter, fitting: Allowed, value: Any) -> Iterator[Broken]:
    wanted = ast.unparse(parameter.annotation) if parameter.annotation else ""
    must = f"must fit `{place[-1]}: {wanted}` of {signature.name} ({signature.place})"
    if place[0] == "fixed":
        values = [(place, value)]
    elif not isinstance(value, dict):
        return
    elif (dist := value.get("dist")) in ("float", "int"):
        if not fitting.dist(str(dist)):
            fix = f"Write dist: {_better(fitting)}, or change the function."
            yield Broken((*place, "dist"), f"{must}, but got {dist}", fix)
        return
    else:
        choices = value.get("values")
        values = [((*place, "values", i), v) for i, v in enumerate(choices if isinstance(choices, list) else [])]
    for where, item in values:
        if not fitting.value(item) and not (item is None and parameter.none_by_default):
            yield Broken(where, f"{must}, but got {shown(item)}", _type_fix(item, fitting))


def _better(fitting: Allowed) -> str:
    return next((kind for kind in ("float", "int") if kind in fitting.kinds), "choice")


def _type_fix(value: Any, fitting: Allowed) -> str:
    if kind_of(value) == "float" and "int" in fitting.kinds and value == value // 1:
        return f"Write {int(value)}."
    if isinstance(value, str) and fitting.kinds & {"int", "float"}:
        return "Remove the quotes." if re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", value) else "Write a number."
    if value in (0, 1) and fitting.kinds == {"bool"}:
        return f"Write {shown(bool(value))}."
    if fitting.literals:
        return did_you_mean(value, [str(literal) for literal in fitting.literals])
    return "Change the value, or the function's annotation."


def _missing(signature: Signature, given: set[str]) -> Iterator[Broken]:
    """Report parameters that nobody gives, but for those that a mistyped name stands for."""
    given = given | {meant for name in given if (meant := closest(name, signature.parameters))}
    for name, parameter in signature.parameters.items():
        if parameter.required and name not in given:
            what = f"must hold every parameter that {signature.name} ({signature.place}) needs, but got none for {name}"
            yield Broken(("space",), what, f"Add {name} to space or to fixed.")
