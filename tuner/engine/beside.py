"""What lets several Rays live on one machine, each with its logs and its metrics, and with what it needs alone."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

METRICS = "RAY_enable_metrics_collection"
"""The variable by which Ray is told to collect no metrics."""


@contextmanager
def lean(dashboard: bool) -> Iterator[None]:
    """Have a Ray that is started meanwhile live beside others, without the processes that a run's own has no use for.

    By itself its agent takes a port that is always the same, and the dashboard of a second Ray on the machine shows no
    logs. The log monitor hands on what workers print, which each trial's log holds. The other monitor is there to add
    machines, of which there is one; but the dashboard shows what it says.
    """
    import ray

    parameter = ray._private.parameter
    before = parameter.RayParams
    parameter.RayParams = functools.partial(
        before, dashboard_agent_listen_port=0, include_log_monitor=False, no_monitor=not dashboard
    )
    try:
        with nullcontext() if dashboard else _nothing_to_look_at():
            yield
    finally:
        parameter.RayParams = before


@contextmanager
def _nothing_to_look_at() -> Iterator[None]:
    """Have Ray start no server of a dashboard, and a small agent, as if it were installed without one.

    By itself it starts that server whatever it is told, for the statistics of use that are turned off here, and waits
    for it for more than a second; the agent would serve what only the dashboard asks for.
    """
    import ray

    node, utils = ray._private.node.Node, ray._private.utils
    server, lack = node.start_api_server, utils.get_dashboard_dependency_error
    node.start_api_server = lambda self, **_: setattr(self, "_webui_url", "")
    utils.get_dashboard_dependency_error = lambda: ImportError("no dashboard is wanted")
    try:
        yield
    finally:
        node.start_api_server, utils.get_dashboard_dependency_error = server, lack


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
