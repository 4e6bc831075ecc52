"""The versions that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("tuner", "ray", "torch", "optuna", "tensorboardX", "pydantic", "numpy", "scipy", "cmaes")


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that are installed, without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
