"""The numbers that JSON does not have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

SPELLED = ("nan", "inf", "-inf")


def spelled(value: Any, write: Callable[[str], Any] = str) -> Any:
    """Spell NaN and infinities out, however deep they lie; `write` makes of the text what stands in their place."""
    if isinstance(value, float) and not math.isfinite(value):
        return write(float.__repr__(value))  # numpy's own repr is no number.
    if isinstance(value, Mapping):
        return {key: spelled(item, write) for key, item in value.items()}
    return [spelled(item, write) for item in value] if isinstance(value, list | tuple) else value
