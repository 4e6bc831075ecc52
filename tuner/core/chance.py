"""Random numbers from a counter: no state to save, and no library's upgrade changes them."""

from __future__ import annotations

import hashlib


def uniform(seed: int, stream: str, *counter: int | str) -> float:
    """Draw a number in [0, 1) that depends on nothing but the arguments."""
    return _bits(seed, stream, *counter) / 2**64


def integer(seed: int, stream: str, *counter: int | str, below: int = 2**31) -> int:
    """Draw a whole number in [0, below)."""
    return _bits(seed, stream, *counter) * below >> 64


def _bits(*key: int | str) -> int:
    text = "/".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
