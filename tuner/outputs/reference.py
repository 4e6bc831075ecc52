"""Write docs/api.md from the docstrings of what users import: `python -m tuner.outputs.reference`.

The source is read, not imported: neither Lightning nor Transformers has to be installed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.outputs.document import fields

HOME = Path(__file__).resolve().parents[2]
PAGE = HOME / "docs" / "api.md"
HEAD = """# The Python API
<!-- Written by `python -m tuner.outputs.reference` from the docstrings; change those, not this page. -->
All that users import. What is not here is no part of it and may change with any version: names with an underscore, and
modules that this page does not name. The YAML has [a page of its own](spec.md), and so have [events](events.md).

[model.md](model.md) shows how a function uses its `trial`, [results.md](results.md) how to look at a run,
[best.md](best.md) how to take the best model away, and [trainers.md](trainers.md) how to use the callbacks.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A public name: how it is written by users, and where it is made."""

    name: str
    file: str
    hidden: tuple[str, ...] = ()
    """Members without an underscore that are for the other rooms of the house."""


Node = ast.ClassDef | ast.FunctionDef
SECTIONS: dict[str, tuple[Entry, ...]] = {
    "Running": (
        Entry("tuner.load", "tuner/api.py"),
        Entry("tuner.run", "tuner/api.py"),
        Entry("tuner.resume", "tuner/api.py"),
        Entry("tuner.Options", "tuner/api.py", ("mirror",)),
    ),
    "What a run has found": (
        Entry("tuner.Result", "tuner/outputs/results.py"),
        Entry("tuner.load_best", "tuner/best.py"),
    ),
    "The trial": (
        Entry("tuner.Trial", "tuner/trial/trial.py", ("tested", "could_split", "carry", "carried", "costs")),
    ),
    "Other trainers": (
        Entry("tuner.integrations.lightning.TrialCallback", "tuner/integrations/lightning.py"),
        Entry("tuner.integrations.huggingface.TrialCallback", "tuner/integrations/huggingface.py"),
    ),
    "Errors": tuple(
        Entry(f"tuner.errors.{name}", "tuner/errors.py")
        for name in ("TunerError", "UserError", "RunFailed", "ClusterError", "Interrupted")
    ),
}


def page() -> str:
    """Make the page."""
    parts = [HEAD]
    for title, entries in SECTIONS.items():
        parts += [f"## {title}\n", *(_entry(entry) for entry in entries)]
    return "\n".join(parts)


def find(entry: Entry) -> Node:
    """Find where a name is made."""
    tree, name = ast.parse((HOME / entry.file).read_text(encoding="utf-8")), entry.name.rpartition(".")[2]
    return next(node for node in tree.body if isinstance(node, Node) and node.name == name)


def members(entry: Entry) -> Iterator[ast.FunctionDef]:
    """Walk over the public methods and properties of a class; a trainer's callback is called by the trainer alone."""
    node = find(entry)
    if isinstance(node, ast.ClassDef) and ".integrations." not in entry.name:
        named = (one for one in node.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"))
        yield from (one for one in named if one.name not in entry.hidden)


def is_property(node: Node) -> bool:
    """Tell whether it is read like a field."""
    return any(isinstance(one, ast.Name) and one.id.endswith("property") for one in node.decorator_list)


def _entry(entry: Entry) -> str:
    node = find(entry)
    lines = [f"### `{entry.name}`", "", "```text", _signature(entry.name, node), "```", "", _said(node), ""]
    if isinstance(node, ast.ClassDef):
        lines += _table(node, entry.hidden)
        for member in members(entry):
            lines += _member(member)
    return "\n".join(lines)


def _member(node: ast.FunctionDef) -> list[str]:
    if is_property(node):
        kind = f": `{ast.unparse(node.returns)}`" if node.returns else ""
        return [f"**`.{node.name}`**{kind}<br>", _said(node), ""]
    return [f"**`.{_call(node.name, node)}`**<br>", _said(node), ""]


def _table(node: ast.ClassDef, hidden: Sequence[str]) -> list[str]:
    shown = [field for field in fields(node) if field[0].strip("*`") not in hidden]
    rows = [f"| {name} | {kind} | {default} | {meaning} |" for name, kind, default, meaning in shown]
    return ["| field | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _signature(name: str, node: Node) -> str:
    if isinstance(node, ast.FunctionDef):
        return _call(name, node)
    made = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if name == "tuner.Trial":
        return "def train(trial: tuner.Trial, *, lr: float) -> None  # a run makes it"
    if made is not None:
        return _call(name, made)
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    return f"class {name}({bases})" if bases else f"class {name}"


def _call(name: str, node: ast.FunctionDef) -> str:
    bare = ast.arguments(
        posonlyargs=[one for one in node.args.posonlyargs if one.arg != "self"],
        args=[one for one in node.args.args if one.arg != "self"],
        vararg=node.args.vararg, kwonlyargs=node.args.kwonlyargs, kw_defaults=node.args.kw_defaults,
        kwarg=node.args.kwarg, defaults=node.args.defaults,
    )  # fmt: skip
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    return f"{name}({ast.unparse(bare)}){returns}"


def _said(node: Node) -> str:
    return ast.get_docstring(node) or ""


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
