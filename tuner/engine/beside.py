"""What lets several Rays live on one machine, each with its logs and its metrics, and with what it needs alone."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

METRICS = "RAY_enable_metrics_collection"
"""The variable by which Ray is told to collect no metrics."""


@contextmanager
def lean(dashboard: bool) -> Iterator[None]:
    """Have a Ray that is started meanwhile live beside others, without the processes that a run's own has no use for.

    By itself its agent takes a port that is always the same, and the dashboard of a second Ray on the machine shows no
    logs. The log monitor hands on what workers print, which each trial's log holds. The other monitor is there to add
    machines, of which there is one; but the dashboard shows what it says. Without a dashboard Ray still starts its
    server, for the statistics of use that are turned off here, and waits for it for more than a second.
    """
    import ray

    parameter, node = ray._private.parameter, ray._private.node.Node
    before, start_server = parameter.RayParams, node.start_api_server
    parameter.RayParams = functools.partial(
        before, dashboard_agent_listen_port=0, include_log_monitor=False, no_monitor=not dashboard
    )
    if not dashboard:
        node.start_api_server = _start_no_server
    try:
        yield
    finally:
        parameter.RayParams, node.start_api_server = before, start_server


def _start_no_server(node: Any, **_: Any) -> None:
    """Note that this Ray's head has no address to look at, as starting the server would note one."""
    node._webui_url = ""


@contextmanager
def seen_by_prometheus(folder: Path) -> Iterator[None]:
    """Link to the file in which Ray names the ports of its metrics, for `cluster/prometheus.yaml`.

    Prometheus looks for files by a pattern, not for folders, and that of a run's own Ray has another name each time.
    """
    link = folder.with_name(f"{folder.name}.json")
    link.symlink_to(folder / "prom_metrics_service_discovery.json")
    try:
        yield
    finally:
        link.unlink(missing_ok=True)
