"""The cluster that is meant where nothing but `auto` is said."""

from __future__ import annotations

import os

from tuner.engine.cluster import existing
from tuner.errors import ClusterError


def on_this_machine() -> str:
    """Find the cluster that `ray start` has begun on this machine. Raises ClusterError where there is none."""
    if os.environ.get("RAY_ADDRESS") == "auto":
        del os.environ["RAY_ADDRESS"]  # it names no address, and would be taken for one
    if (found := existing(None)) is None:
        raise ClusterError(
            "--address: must be that of a cluster, but got auto, and `ray start` has left none on this machine. "
            "Start one, or write HOST:PORT."
        )
    return found
