"""Which values an annotation obviously cannot take."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

SIMPLE = {"int": "int", "float": "float", "bool": "bool", "str": "str", "None": "null"}
LISTS = {"list", "List", "tuple", "Tuple", "Sequence", "Iterable", "Collection"}
DICTS = {"dict", "Dict", "Mapping", "MutableMapping"}


@dataclass(frozen=True)
class Allowed:
    """The kinds of value, and single values, that an annotation names."""

    kinds: frozenset[str] = frozenset()
    literals: tuple[Any, ...] = ()

    def value(self, value: Any) -> bool:
        """Tell whether a value of the YAML fits."""
        kind = kind_of(value)
        if kind in self.kinds or (kind == "int" and "float" in self.kinds):
            return True
        return any(kind_of(literal) == kind and literal == value for literal in self.literals)

    def dist(self, dist: str) -> bool:
        """Tell whether all that a `float` or an `int` dimension draws can fit."""
        return dist in self.kinds or (dist == "int" and "float" in self.kinds) or bool(self.literals and dist == "int")


def allowed(annotation: ast.expr | None) -> Allowed | None:
    """Read an annotation; None where it may take anything."""
    if isinstance(annotation, ast.Constant):
        return _constant(annotation.value)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _union([annotation.left, annotation.right])
    if isinstance(annotation, ast.Subscript):
        return _subscript(annotation)
    if isinstance(annotation, ast.Name | ast.Attribute):
        return _named(_name(annotation))
    return None


def kind_of(value: Any) -> str:
    """Name the kind of a value that YAML can hold."""
    return "null" if value is None else type(value).__name__


def _constant(value: Any) -> Allowed | None:
    """Read `None`, and an annotation that is written as a string."""
    if value is None:
        return Allowed(frozenset({"null"}))
    if not isinstance(value, str):
        return None
    try:
        return allowed(ast.parse(value, mode="eval").body)
    except (SyntaxError, ValueError):
        return None


def _named(name: str) -> Allowed | None:
    if name in SIMPLE:
        return Allowed(frozenset({SIMPLE[name]}))
    if name in LISTS:
        return Allowed(frozenset({"list"}))
    return Allowed(frozenset({"dict"})) if name in DICTS else None


def _subscript(node: ast.Subscript) -> Allowed | None:
    name, inner = _name(node.value), node.slice
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        if all(isinstance(item, ast.Constant) for item in items):
            return Allowed(literals=tuple(item.value for item in items if isinstance(item, ast.Constant)))
        return None
    if name == "Optional":
        return _union([inner, ast.Constant(None)])
    if name == "Union":
        return _union(items)
    return allowed(items[0]) if name in ("Annotated", "Final") else _named(name)


def _union(members: list[ast.expr]) -> Allowed | None:
    kinds: frozenset[str] = frozenset()
    literals: tuple[Any, ...] = ()
    for member in members:
        part = allowed(member)
        if part is None:
            return None
        kinds, literals = kinds | part.kinds, literals + part.literals
    return Allowed(kinds, literals)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
