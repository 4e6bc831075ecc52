"""Words of the error messages: values as YAML shows them, and guesses at what was meant."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

MOST_SHOWN = 60


def shown(value: Any) -> str:
    """Write a value as YAML would, cut to one short line."""
    text = _shown(value)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def brief(number: float | None) -> str:
    """Write a number as people do: 1.0 is 1."""
    return shown(int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 1e15 else number)


def closest(word: object, names: Iterable[str]) -> str | None:
    """Find the name that a mistyped word stands for, if one is near."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.65)
    return by_lower[found[0]] if found else None


def did_you_mean(word: object, names: Iterable[str], otherwise: str = "") -> str:
    """Ask for the nearest name; say something else, or list the names, where none is near."""
    names = list(names)
    if match := closest(word, names):
        return f"Did you mean {match}?"
    return otherwise or (f"Choose from {', '.join(names)}." if names else "")


def listed(names: Iterable[object]) -> str:
    """Join names as in a sentence: `a, b or c`."""
    *most, last = [str(name) for name in names]
    return f"{', '.join(most)} or {last}" if most else last


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value[:MOST_SHOWN])}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in list(value.items())[:MOST_SHOWN])}}}"
    return repr(value)
