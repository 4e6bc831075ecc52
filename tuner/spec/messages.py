"""pydantic's errors in our grammar: what must hold, what was got, and one fix."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tuner.spec.draft import Draft
from tuner.spec.keys import KINDS, LOGGERS, MEANT_DISTS, MEANT_KINDS, MEANT_LOGGERS, MODES, model_of
from tuner.spec.model import Broken, Place, SpecProblems
from tuner.spec.words import brief, closest, listed, shown

NEEDED = {
    "trainable": "Add trainable: my_module:train.",
    "objective": "Add objective: {metric: val_accuracy, mode: max}.",
    "budget": "Add budget: {trials: 32, epochs: 9}.",
    "space": "Add space: {lr: {dist: float, low: 1e-4, high: 1.0, log: true}}.",
    "metric": "Add the name of a metric that the function reports.",
    "mode": "Add mode: min or mode: max.",
    "trials": "Add trials: 32, say.",
    "epochs": "Add epochs: 9, say.",
    "dist": "Add dist: float, int or choice.",
    "low": "Add the lowest value.",
    "high": "Add the highest value.",
    "values": "Add values: [a, b].",
    "constraints": 'Add constraints: {latency_ms: "<= 5"}.',
}
BOOLS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false",
         "1": "true", "0": "false", "true": "true", "false": "false"}  # fmt: skip


def translate(error: ValidationError, draft: Draft, at: Place = ()) -> list[Broken]:
    """Turn pydantic's error into problems; `at` is where the validated value stands."""
    return [broken for details in error.errors(include_url=False) for broken in _translate(details, draft, at)]


def _translate(details: ErrorDetails, draft: Draft, at: Place) -> list[Broken]:
    place = _without_tags((*at, *details["loc"]))
    context: dict[str, Any] = details.get("ctx") or {}
    if isinstance(problem := context.get("error"), SpecProblems):
        return [Broken(place + broken.place, broken.what, broken.fix) for broken in problem.problems]
    kind, got = details["type"], details["input"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return [_tag(place, kind, context, got, draft)]
    if kind == "missing":
        return [Broken(place, "must be given, but got nothing", NEEDED.get(str(place[-1]), "Add it."))]
    if kind.endswith("attributes_type") or kind in ("model_type", "dict_type"):
        return [_mapping(place, got, draft)]
    must = MUST[kind](context) if kind in MUST else re.sub(r"^Input should ", "", details["msg"])
    return [Broken(place, f"must {must}, but got {shown(got)}", _fix(kind, place, context, got))]


def _without_tags(place: Place) -> Place:
    """Drop what pydantic puts in for the member of a union: `space.lr.float.low` is `space.lr.low`."""
    if place[:1] == ("resources",) and place[-2:-1] == ("gpus",):
        place = place[:-1]
    if place[:1] == ("scheduler",) and place[2:3] == ("by",):
        place = place[:3] + place[4:]
    if place[:1] == ("space",) and place[-2:-1] == ("confidence",):
        place = place[:-1]
    depths = {"objective": 1, "space": 2, "search": 1, "scheduler": 1, "resources": 1, "loggers": 2}
    at = depths.get(str(place[0])) if place else None
    return place if at is None or len(place) <= at else place[:at] + place[at + 1 :]


def _tag(place: Place, kind: str, context: dict[str, Any], got: Any, draft: Draft) -> Broken:
    tag = context["discriminator"].strip("'")
    if place[0] == "loggers":
        return _logger(place, got, draft)
    names = list(KINDS.get(str(place[0]), {})) or ["float", "int", "choice"]
    value = got.get(tag) if isinstance(got, dict) else got
    if kind == "union_tag_not_found" and not (isinstance(got, dict) and tag in got):
        return Broken((*place, tag), "must be given, but got nothing", NEEDED.get(tag, f"Add {tag}: {names[0]}."))
    fix = _tag_fix(tag, word := shown(value).strip("'").lower(), names)
    others = [section for section in KINDS if place[0] in KINDS and word in KINDS[section] and word not in names]
    if others:
        fix = f"Write {others[0]}: {{kind: {word}}}, or correct it."
    return Broken((*place, tag), f"must be {listed(names)}, but got {shown(value)}", fix)


def _logger(place: Place, got: Any, draft: Draft) -> Broken:
    """Report a kind of logger that is missing or unknown; one that was written as a mere name is asked for so."""
    names, is_name = list(LOGGERS), isinstance(draft.get(place), str)
    place = place if is_name else (*place, "kind")
    if "kind" not in got:
        return Broken(place, "must be given, but got nothing", f"Add kind: {listed(names)}.")
    word = str(got["kind"]).lower()
    what = f"must be {listed(names)}, but got {shown(got['kind'])}"
    if word in ("tensorboard", "optuna", "json", "jsonl"):
        return Broken(place, what, "Remove it: files for TensorBoard and Optuna, and the ledger, are always written.")
    meant = MEANT_LOGGERS.get(word) or closest(word, names)
    return Broken(place, what, f"Did you mean {meant}?" if meant else f"Choose from {', '.join(names)}.")


def _tag_fix(tag: str, word: str, names: list[str]) -> str:
    if tag == "dist" and word in ("constant", "const", "fixed"):
        return "Move the parameter to fixed."
    meant = MEANT_DISTS.get(word) if tag == "dist" else MEANT_KINDS.get(word)
    if meant not in names:
        match = closest(word, names)
        return f"Write {tag}: {match}." if match else f"Write {tag}: {names[0]}, say."
    rest = " with log: true" if "log" in word else " with values" if meant == "choice" else ""
    return f"Write {tag}: {meant}{rest}."


def _mapping(place: Place, got: Any, draft: Draft) -> Broken:
    if len(place) == 2 and place[0] == "space":
        fix = f"Move it to fixed, or write {{dist: choice, values: {shown(got)}}}." if isinstance(got, list) else (
            "Move it to fixed, or write {dist: float, low: ..., high: ...}.")  # fmt: skip
        return Broken(place, f"must be a mapping with `dist`, but got {shown(got)}", fix)
    section = str(place[0]) if place else ""
    if len(place) == 1 and section in KINDS and isinstance(got, str):
        name = closest(got, KINDS[section]) or next(iter(KINDS[section]))
        return Broken(place, f"must be a mapping, but got {shown(got)}", f"Write {section}: {{kind: {name}}}.")
    model = model_of(draft, place)
    keys = f" with {', '.join(model.model_fields)}" if model else ""
    fix = f"Write {place[-1] if place else 'key'}: {{...}}, or remove it." if got is not None else "Fill or remove it."
    if place and isinstance(place[-1], int):
        fixes = {"loggers": "Write csv, or {kind: wandb}.", "objective": "Write {metric: loss, mode: min}, say."}
        fix = fixes.get(section, "Write {name: value}.")
    needed = NEEDED.get(section, fix).replace("Add", "Write") if len(place) == 1 else fix
    return Broken(place, f"must be a mapping{keys}, but got {shown(got)}", needed)


MUST: dict[str, Callable[[dict[str, Any]], str]] = {
    "int_type": lambda c: "be a whole number",
    "int_from_float": lambda c: "be a whole number",
    "float_type": lambda c: "be a number",
    "bool_type": lambda c: "be true or false",
    "string_type": lambda c: "be a text",
    "list_type": lambda c: "be a list",
    "finite_number": lambda c: "be a finite number",
    "greater_than": lambda c: f"be above {brief(c['gt'])}",
    "greater_than_equal": lambda c: f"be at least {brief(c['ge'])}",
    "less_than": lambda c: f"be below {brief(c['lt'])}",
    "less_than_equal": lambda c: f"be at most {brief(c['le'])}",
    "literal_error": lambda c: f"be {c['expected'].replace(chr(39), '')}",
    "too_short": lambda c: "hold at least one value",
    "string_too_short": lambda c: "hold at least one letter",
}


def _fix(kind: str, place: Place, context: dict[str, Any], got: Any) -> str:
    needed = NEEDED.get(str(place[-1])) if place else None
    if needed and (got is None or (kind == "string_type" and isinstance(got, list | dict))):
        return needed.replace("Add", "Write", 1)
    if got is None:
        return "Give a value, or remove the key."
    if kind in ("int_type", "int_from_float", "float_type", "bool_type"):
        return _number_fix(kind, got)
    if kind == "literal_error":
        return _literal_fix(place, context, got)
    if kind == "string_type" and place[:1] == ("constraints",):
        bound = shown(got) if isinstance(got, int | float) and not isinstance(got, bool) else "5"
        return f'Write "<= {bound}" or ">= {bound}", say.'
    if kind == "string_type":
        return f"Quote it: '{shown(got)}'." if not isinstance(got, list | dict) else "Write one text."
    if kind == "list_type":
        return f"Write [{shown(got)}]."
    if kind == "too_short" and place == ("space",):
        return "Add a parameter, or run the function without tuning it."
    bounds = {"greater_than_equal": "ge", "less_than_equal": "le"}
    if kind in bounds:
        return f"Write {place[-1]}: {brief(context[bounds[kind]])}, or {'more' if bounds[kind] == 'ge' else 'less'}."
    if kind == "finite_number":
        return "Write a bound such as 1e6." if place[-1] in ("low", "high") else "Write a number, or remove the key."
    return {"greater_than": "Use a larger number.", "less_than": "Use a smaller number.",
            "string_too_short": "Write a name."}.get(kind, "Add one.")  # fmt: skip


def _number_fix(kind: str, got: Any) -> str:
    if kind == "bool_type":
        return f"Write {BOOLS.get(str(got).lower(), 'true or false')}."
    if isinstance(got, float) and abs(got) < 1e15:
        return f"Write {int(got)}." if got.is_integer() else f"Write {math.floor(got)} or {math.ceil(got)}."
    if isinstance(got, str) and re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", got):
        return "Remove the quotes."
    return "Write a number." if kind == "float_type" else "Write a whole number."


def _literal_fix(place: Place, context: dict[str, Any], got: Any) -> str:
    names = re.findall(r"'([^']*)'", context["expected"])
    if place[-1] == "confidence":
        return f"Write {listed(names)}, or a number between 0 and 1 without quotes."
    meant = MODES.get(str(got).lower()) if place[-1] == "mode" else closest(got, names)
    return f"Write {place[-1]}: {meant or names[0]}."
