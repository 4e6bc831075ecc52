"""The cluster that is meant where nothing but `auto` is said."""

from __future__ import annotations

from tuner.engine.cluster import existing


def on_this_machine() -> str | None:
    """Find the cluster that `ray start` has begun on this machine. Raises ClusterError where there is none."""
    return existing("auto")
