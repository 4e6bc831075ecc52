"""The experiment as a file that can be run again: resolved, with all defaults, from any folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tuner.called import called
from tuner.spec import bind
from tuner.spec.experiment import Experiment
from tuner.spec.model import Model
from tuner.spec.modules import BindError
from tuner.spec.objective import Objectives
from tuner.storage import write_whole
from tuner.versions import versions

NAME = "experiment.yaml"
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(:[A-Za-z_][A-Za-z0-9_]*)?")
HOME = Path(__file__).resolve().parents[2]
"""Whoever can import tuner can import what lies beside it."""


def write(folder: Path, experiment: Experiment, home: Path) -> None:
    """Write `experiment.yaml`; `home` is the folder of the YAML that the experiment was read from."""
    file = folder / NAME
    head = [f"{folder.name}: the experiment with all its defaults. Run it again:", f"  {command(file)}"]
    now, origin = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"), _origin(file)
    if origin:
        head += [*origin, f"Written again {now}, at git commit {commit()}"]
    else:
        head += [f"Made {now}", f"git commit: {commit()}", *(f"{name} {number}" for name, number in versions().items())]
    write_whole(file, document(resolved(experiment, home), head + notes(experiment, home)))


def _origin(file: Path) -> list[str]:
    """Read when and with what the run was begun out of the file that is there."""
    if not file.exists():
        return []
    starts = ("Made ", "git commit: ", *(f"{name} " for name in versions()))
    return [line[2:] for line in file.read_text().splitlines() if line.startswith(tuple(f"# {one}" for one in starts))]


def command(file: Path) -> str:
    """Give the command that runs a YAML file, from the current folder if it lies below it."""
    file = Path(os.path.normpath(Path.cwd() / file))
    file = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return f"{called()} --space {shlex.quote(str(file))}"


def resolved(experiment: Experiment, home: Path) -> dict[str, Any]:
    """Give the experiment as plain values, with functions that are found from any folder."""
    spec = plain(experiment)
    for key in ("trainable", "test"):
        if key in spec:
            spec[key] = portable(spec[key], home)
    if experiment.start.learned:
        spec["start"] = spec.pop("start")  # to the end: it is long, and not for people
    return spec


def plain(model: Model) -> dict[str, Any]:
    """Turn a model into plain values; what is None by default is left out, what the user wrote as null stays."""
    values = {name: getattr(model, name) for name in type(model).model_fields}
    first = [name for name in ("dist", "kind") if name in values]
    return {
        name: _plain(values[name])
        for name in [*first, *values]
        if values[name] is not None and (name != "when" or values[name])
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return plain(value)
    if isinstance(value, Objectives):
        return [plain(one) for one in value.all]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def portable(ref: str, home: Path) -> str:
    """Name a function so that it is found from any folder, where that is possible."""
    found = _find(ref, home)
    if found is None:
        return ref
    if found.file is not None:
        return f"{found.file}:{found.function}"
    file = found.root / f"{found.module}.py"
    return ref if _is_anywhere(found.root, home) or not file.is_file() else f"{file}:{found.function}"


def notes(experiment: Experiment, home: Path) -> list[str]:
    """Say what is found from one folder alone: a module in a package of the user's, whose imports need its name."""
    refs = (portable(ref, home) for ref in (experiment.trainable, experiment.test) if ref)
    found = [bound for ref in refs if (bound := _find(ref, home)) and bound.file is None]
    return [f"{bound.ref} was found in {bound.root}" for bound in found if not _is_anywhere(bound.root, home)]


def _find(ref: str, home: Path) -> bind.Trainable | None:
    try:
        return bind.find(ref, home).trainable
    except BindError:
        return None


def _is_anywhere(root: Path, home: Path) -> bool:
    """Tell whether a module's folder is known apart from where the YAML lies and where the command is typed."""
    return root.resolve() == HOME or root.resolve() not in (home.resolve(), Path.cwd().resolve())


def commit() -> str:
    """Name the git commit of the current folder, and whether files that git knows were changed since."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    words = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty= (and changes)"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, env=environment, check=True)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.strip()


class _Dumper(yaml.SafeDumper):
    """Quotes every text that might be something else, since PyYAML follows YAML 1.1 and the loader 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything where it stands: the loader may refuse aliases."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if PLAIN.fullmatch(value) else '"')


_Dumper.add_representer(str, _text)


def document(spec: Mapping[str, Any], head: list[str]) -> str:
    """Write plain values as YAML below lines of comment."""
    comment = "".join(f"# {line}\n" for text in head for line in text.splitlines())
    body = yaml.dump(
        dict(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )
    return f"{comment}{body}"
