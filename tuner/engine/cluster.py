"""Which Ray the run uses: an existing cluster where one is named, else one of its own that ends with it."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner import ship
from tuner.engine import own, sweeper, token
from tuner.engine.beside import METRICS, lean, seen_by_prometheus
from tuner.engine.growth import may_come
from tuner.engine.machines import Node
from tuner.errors import ClusterError, UserError
from tuner.storage import machine
from tuner.trial.meter import SIMULATED, cards

CARD_SECONDS = 60.0
"""So long a machine may take to say what its GPUs have: a worker starts there."""
SOCKET = "session_2026-12-31_23-59-59_999999_{pid}/sockets/plasma_store.99"
"""The longest name below Ray's temporary folder that a socket may get."""
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without GPUs sees none
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_event_stats": "0",
    "RAY_prestart_worker_first_driver": "0",  # else an idle worker for each CPU, which no trial uses
    "RAY_task_events_report_interval_ms": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "86400",
}
"""What a run sets before Ray is imported: our ledger takes the place of Ray's snapshots and loggers."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray that this process is connected to."""

    nodes: list[Node]
    dashboard: str
    """Address of Ray's dashboard; empty where there is none."""
    scratch: Path
    """Folder for what Ray Tune insists on writing."""
    local: bool
    """Whether it ends with this run."""
    here: str
    """Ray's id of the machine that this process is on."""
    shipped: str = ""
    """The folder of which each machine has a copy, in which its workers begin."""


@contextmanager
def prepared(dashboard: bool) -> Iterator[None]:
    """Set what Ray reads from the environment, then import it, before any other thread may.

    Metrics are left out for this run alone: the next one of a notebook may want them.
    """
    os.environ.update(QUIET)
    before = os.environ.get(METRICS)
    if not dashboard:
        os.environ[METRICS] = "0"
    try:
        importlib.import_module("ray")
        yield
    finally:
        os.environ.pop(METRICS, None)
        if before is not None:
            os.environ[METRICS] = before


def existing(address: str | None) -> str | None:
    """Find the cluster that the user means: the flag, RAY_ADDRESS, or what `ray start` left on this machine.

    Another run's own Ray is never taken: it leaves no such trace. `local` is Ray's own word for none, and `auto` for
    what was left; raises ClusterError where that is nothing.
    """
    named = address or os.environ.get("RAY_ADDRESS")
    if named and named != "auto":
        return named if named != "local" else None
    trace = _trace()
    found = trace.read_text().strip() if trace.exists() else ""
    if named and not found:
        raise ClusterError(
            "--address: must be that of a cluster, but got auto, and `ray start` has left none on this machine. "
            "Start one, or write HOST:PORT."
        )
    return found or None


def _trace() -> Path:
    """Name the file in which `ray start` leaves the address of its cluster, as Ray finds it itself."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    return Path(folder) / "ray" / "ray_current_cluster"


def told(nodes: Sequence[Node], local: bool, names: Sequence[str] = ("CPU", "GPU")) -> str:
    """Say what a cluster has."""
    machines = "this machine" if local else f"a cluster of {len(nodes)} machines"
    total = {"CPU": sum(node.cpus for node in nodes), "GPU": sum(node.gpus for node in nodes)}
    return f"{machines}: {', '.join(f'{int(total[name])} {name}s' for name in names)}"


@contextmanager
def connect(
    address: str | None, dashboard: bool, keep_logs: Path, travels: Callable[[], Path | None] = lambda: None
) -> Iterator[Cluster]:
    """Connect, or start a Ray of our own; at the end leave it, or end it and keep its logs. `prepared` comes before.

    `travels` names the folder of which other machines get a copy.
    """
    found = existing(address)
    if found and "://" in found:
        raise UserError(
            f"the address of a cluster must be HOST:PORT here, but got {found}. Jobs are submitted with "
            "--address http://HOST:PORT."
        )
    import ray

    if ray.is_initialized():
        raise UserError(
            "this process is connected to Ray already. Call ray.shutdown() before a run, or name the cluster."
        )
    # A short path of our own, since the names of sockets are bounded; and two users never share it.
    scratch = machine.scratch(socket=SOCKET.format(pid=os.getpid()))
    try:
        with _sigterm_kept(), lean(dashboard):
            info, shipped = _join(found, travels) if found else (_start(dashboard, scratch), "")
        url = info.dashboard_url
        here = ray.get_runtime_context().get_node_id()
        with seen_by_prometheus(scratch) if dashboard and not found else nullcontext():
            yield Cluster(machines(), f"http://{url}" if url else "", scratch, not found, here, shipped)
    finally:
        ray.shutdown()
        sweeper.kill(sweeper.processes([str(scratch)]))  # its agents would look for its head for another minute
        own.keep(scratch, keep_logs)
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep Ray from taking SIGTERM while it starts: its handler leaves with exit code 15, and without a word."""
    import ray

    utils = ray._private.utils
    before, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = before


def _travel(address: str, travels: Callable[[], Path | None]) -> tuple[str, dict[str, object] | None]:
    """Choose the folder of which other machines get a copy, if there are or may be some, and what tells Ray so.

    A job has brought its own folder, and Ray knows.
    """
    from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR as JOB

    if JOB in os.environ:
        return (os.getcwd() if json.loads(os.environ[JOB]).get("runtime_env", {}).get("working_dir") else ""), None
    folder = travels() if _count(address) > 1 or may_come() else None
    return (str(folder), ship.environment(folder)) if folder else ("", None)


def _count(address: str) -> int:
    """Count the machines of a cluster before this process joins it: what travels has to be said then."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    return sum(node.state == GcsNodeInfo.ALIVE for node in GcsClient(address=address).get_all_node_info().values())


def _join(address: str, travels: Callable[[], Path | None]) -> tuple[Any, str]:
    """Join a cluster; returns what Ray says of it, and the folder of which other machines have a copy."""
    import ray

    try:
        knock(address)
        if token.is_asked_for(address):
            token.send()
        shipped, environment = _travel(address, travels)
        options = {"log_to_driver": False, "logging_level": logging.WARNING}
        return ray.init(address=address, runtime_env=environment, **options), shipped
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"--address: must be a Ray cluster that answers, but {address} does not ({_first_line(error)}). "
            "Check `ray status` there; where it asks for a token, the same one must lie in ~/.ray/auth_token here. To "
            "use this machine alone, leave out --address, unset RAY_ADDRESS, and delete "
            f"{_trace()} where a dead cluster has left it."
        ) from None


def knock(address: str, seconds: float = 10) -> None:
    """Open a port of Ray's, within so many seconds: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=seconds).close()


@contextmanager
def _this_machine_alone() -> Iterator[None]:
    """Have a Ray that is started here listen on the loopback alone, as it does on macOS: nobody else is to join it."""
    from ray._private import ray_constants

    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _start(dashboard: bool, scratch: Path) -> Any:
    token.keep_private()
    try:
        with _this_machine_alone():
            return _init(dashboard, scratch)
    except (ConnectionError, RuntimeError, OSError, TimeoutError) as error:
        raise ClusterError(f"Ray does not start on this machine: {_first_line(error)}") from None


def _init(dashboard: bool, scratch: Path) -> Any:
    import ray

    return ray.init(
        address="local",
        include_dashboard=dashboard,
        log_to_driver=False,
        logging_level=logging.WARNING,
        object_store_memory=100 * 2**20,
        num_gpus=len(cards()) if os.environ.get(SIMULATED) else None,
        _temp_dir=str(scratch),
    )


def machines() -> list[Node]:
    """List the machines that live, and say which of them are about to be taken away."""
    import ray

    leaving = ray._private.state.state.get_draining_nodes()
    return [_node(node, node["NodeID"] in leaving) for node in ray.nodes() if node["Alive"]]


def _node(told: dict[str, Any], leaving: bool) -> Node:
    resources, address = told["Resources"], told["NodeManagerAddress"]
    return Node(resources.get("CPU", 0.0), int(resources.get("GPU", 0)), 0, told["NodeID"], address, leaving)


def with_cards(nodes: Sequence[Node]) -> list[Node]:
    """Ask each machine that has GPUs how much memory these have; the smallest counts where they differ.

    Raises ClusterError where one does not know.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    ask = ray.remote(num_cpus=0)(cards)
    asked = [node for node in nodes if node.gpus]
    refs = [ask.options(scheduling_strategy=On(node.name, soft=False)).remote() for node in asked]
    try:
        told = ray.get(refs, timeout=CARD_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as error:
        names = ", ".join(node.address for node in asked)
        raise ClusterError(
            f"{names}: does not say what its GPUs have ({type(error).__name__}). See `ray status`."
        ) from None
    for node, sizes in zip(asked, told, strict=True):
        if not sizes:
            raise ClusterError(
                f"resources.gpus: auto needs to know how much memory a GPU has, but nvidia-smi does not tell it on the "
                f"machine {node.address}. Write gpus: 0.5, say."
            )
    known = {node.name: min(sizes) for node, sizes in zip(asked, told, strict=True)}
    return [replace(node, card=known.get(node.name, 0)) for node in nodes]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
