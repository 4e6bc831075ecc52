"""Write docs/spec.md, docs/experiment.schema.json and the tables of keys in docs/search and docs/schedulers.

`python -m tuner.spec.document` writes them from the models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tuner.spec import experiment as exp
from tuner.spec.keys import DISTS, KINDS, LOGGERS, SECTIONS
from tuner.spec.model import Model
from tuner.spec.words import shown

DOCS = Path(__file__).resolve().parents[2] / "docs"
HEAD = """# The experiment's YAML: every key
<!-- Written by `python -m tuner.spec.document` from the models in tuner/spec; change those, not this page. -->
An editor that knows YAML completes and checks the keys if the file begins with
`# yaml-language-server: $schema=../docs/experiment.schema.json`.

- Values follow the core rules of YAML 1.2: `1e-4` is a number, `no` and `off` are texts, `true` and `false` are bools.
- Every error is reported at once, with file and line, exit 2.
- `--set KEY=VALUE` overrides one key, dotted: `--set scheduler.grace_epochs=3`, `--set "scheduler={kind: none}"`.
- A file is found by its path, or by its name under `search_spaces/`.
- A function is found beside the YAML, then in the current folder, then on Python's path; its parameters are read from
  its source. It takes `trial` first and all else by name: `def train(trial, *, lr: float, width: int = 16)`. What the
  source cannot tell (a decorator, a partial) is checked by the first trial. `def train(config)` is a plain Ray Tune
  function.
"""
MARK, END = "<!-- keys, written by `python -m tuner.spec.document` -->", "<!-- end of the keys -->"
TYPES = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null",
         "object": "mapping", "array": "list"}  # fmt: skip
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def schema() -> dict[str, Any]:
    """Make the JSON schema of a file."""
    made = exp.Experiment.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def schema_text() -> str:
    """Make the text of docs/experiment.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


def reference() -> str:
    """Make the text of docs/spec.md."""
    return "\n".join([HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    yield from _section("## The file", exp.Experiment)
    for name, model in SECTIONS.items():
        yield from _section(f"## `{name}`", model)
    yield "## `space`\nEach name is a parameter of the function and has one of these forms.\n"
    for dist, model in DISTS.items():
        yield from _section(f"### `dist: {dist}`", model)
    for name, kinds in KINDS.items():
        yield f"## `{name}`\n`kind` is one of these, `{exp.DEFAULT_KINDS[name]}` if none is given; without `scheduler`"
        yield "and with no `search` or only its `seed`, both are `auto` where the function calls `trial.track`."
        yield "Where it does not, they are `random` and `asha`; with a `prior`, `start.runs`, `constraints` or one"
        yield "epoch `tpe` and `asha`. With several objectives they are `tpe` and `none`.\n"
        for kind, model in kinds.items():
            yield from _section(f"### `kind: {kind}`", model)
    yield "## `loggers`\nA list of names, or of mappings with these keys ([loggers.md](loggers.md)).\n"
    for kind, model in LOGGERS.items():
        yield from _section(f"### `kind: {kind}`", model)


def filled(page: str, model: type[Model]) -> str:
    """Put the table of a kind's keys into the text of the page about it, between the two marks."""
    (before, _), (_, after) = page.split(MARK), page.split(END)
    return f"{before}{MARK}\n{_table(model)}\n{END}{after}"


def pages() -> Iterator[tuple[Path, type[Model]]]:
    """Name the page of each kind of search and scheduler."""
    for name, folder in (("search", "search"), ("scheduler", "schedulers")):
        yield from ((DOCS / folder / f"{kind}.md", model) for kind, model in KINDS[name].items())


def _section(title: str, model: type[Model]) -> Iterator[str]:
    yield f"{title}\n{(model.__doc__ or '').strip()}\n\n{_table(model)}\n"


def _table(model: type[Model]) -> str:
    properties = model.model_json_schema()["properties"]
    # What chooses the form comes first, though what all forms share is declared before it; a prior's confidence last.
    places = {"dist": -1, "kind": -1, "confidence": 1}
    fields = sorted(model.model_fields.items(), key=lambda item: places.get(item[0], 0))
    rows = [_row(key, field, properties[key]) for key, field in fields]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def _row(key: str, field: FieldInfo, described: dict[str, Any]) -> str:
    meaning = " ".join((field.description or "").split())
    return f"| `{key}` | {_type(described)} | {_default(field)} | {meaning} |".replace(" |  |", " | |")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return "none"
    return f"`{shown(value.model_dump(exclude_none=True) if isinstance(value, Model) else value)}`"


def _type(described: dict[str, Any]) -> str:
    """Say in words what a key's JSON schema says."""
    if "const" in described:
        return f"`{described['const']}`"
    if "enum" in described:
        return " or ".join(f"`{value}`" for value in described["enum"])
    members = described.get("anyOf") or described.get("oneOf")
    if members and not any("$ref" in member for member in described.get("oneOf", ())):
        return " or ".join(_type(member) for member in members if member != {"type": "null"})
    if "$ref" in described or "oneOf" in described:
        return "mapping, below"
    if described.get("type") == "object" and described.get("additionalProperties") not in (None, True):
        inside = described["additionalProperties"]
        return f"name: {TYPES[inside['type']]}" if inside.get("type") in TYPES else "name: mapping, below"
    word = TYPES.get(described.get("type", ""), "any")
    bounds = [f"{words} {shown(described[bound])}" for bound, words in BOUNDS.items() if bound in described]
    return ", ".join([word, " and ".join(bounds)]) if bounds else word


def main() -> None:
    """Write both files, and the tables in the pages of searches and schedulers."""
    DOCS.mkdir(exist_ok=True)
    (DOCS / "spec.md").write_text(reference(), encoding="utf-8")
    (DOCS / "experiment.schema.json").write_text(schema_text(), encoding="utf-8")
    for page, model in pages():
        page.write_text(filled(page.read_text(encoding="utf-8"), model), encoding="utf-8")


if __name__ == "__main__":
    main()
