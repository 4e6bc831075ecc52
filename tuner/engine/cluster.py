"""Which Ray the run uses: an existing cluster where one is named, else one of its own that ends with it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.engine.beside import agent_on_any_port, seen_by_prometheus
from tuner.engine.machines import Node
from tuner.errors import ClusterError, UserError
from tuner.trial.meter import SIMULATED, cards

PREFIX = "tuner-"
METRICS = "RAY_enable_metrics_collection"
VITAL = ("gcs_server", "raylet")
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without GPUs sees none
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_event_stats": "0",
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


def prepare(dashboard: bool) -> None:
    """Set what Ray reads from the environment, then import it, before any other thread may."""
    os.environ.update(QUIET)
    if not dashboard:
        os.environ[METRICS] = "0"
    importlib.import_module("ray")


def existing(address: str | None) -> str | None:
    """Find the cluster that the user means: the flag, RAY_ADDRESS, or what `ray start` left on this machine.

    Another run's own Ray is never taken: it leaves no such trace.
    """
    if address or os.environ.get("RAY_ADDRESS"):
        return address or os.environ["RAY_ADDRESS"]
    trace = _trace()
    return trace.read_text().strip() or None if trace.exists() else None


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
def connect(address: str | None, dashboard: bool, keep_logs: Path) -> Iterator[Cluster]:
    """Connect, or start a Ray of our own; at the end leave it, or end it and keep its logs. `prepare` comes before."""
    found = existing(address)
    if found and "://" in found and not found.startswith("ray://"):
        raise UserError(f"--address: submitting a run as a job is not yet possible, but got {found}. Give HOST:PORT.")
    import ray

    if ray.is_initialized():
        raise UserError(
            "this process is connected to Ray already. Call ray.shutdown() before a run, or name the cluster."
        )
    # A short path of our own: sockets below it may have 107 characters, and two users never share it.
    _sweep()
    scratch = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        with _sigterm_kept(), agent_on_any_port():
            info = _join(found) if found else _start(dashboard, scratch)
        url = info.dashboard_url
        with seen_by_prometheus(scratch) if dashboard and not found else contextlib.nullcontext():
            yield Cluster(machines(), f"http://{url}" if url else "", scratch, local=not found)
    finally:
        ray.shutdown()
        _kill(_processes(scratch))  # its agents would look for its head for another minute
        _keep(scratch, keep_logs)
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


def dead() -> list[str]:
    """Name the processes of a Ray of our own that it cannot do without, and that are dead."""
    import ray

    node = ray._private.worker._global_node
    known = {} if node is None else node.all_processes
    return [name for name in VITAL for one in known.get(name, ()) if one.process.poll() is not None]


def abandon(keep_logs: Path, code: int) -> None:
    """End this process, and with it a Ray of our own, whatever state it is in; its folder is swept by the next run."""
    found: list[int] = []
    for scratch in Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*"):
        _keep(scratch, keep_logs)
        found += _processes(scratch)
    # In one go: a main thread that is just calling Ray might not let this one run again once Ray is dead.
    sys.setswitchinterval(60)
    _kill(found)
    os._exit(code)


def _join(address: str) -> Any:
    import ray

    try:
        knock(address)
        _send_token()
        return ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"--address: must be a Ray cluster that answers, but {address} does not ({_first_line(error)}). "
            "Check `ray status` there; where it asks for a token, the same one must lie in ~/.ray/auth_token here. To "
            "use this machine alone, leave out --address, unset RAY_ADDRESS, and delete "
            f"{_trace()} where a dead cluster has left it."
        ) from None


def _send_token() -> None:
    """Send the token that this user has, if any: Ray itself does so only where it has found the cluster by itself."""
    from ray._private.authentication import authentication_token_setup as setup

    setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def knock(address: str, seconds: float = 10) -> None:
    """Open a port of Ray's, within so many seconds: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=seconds).close()


def _start(dashboard: bool, scratch: Path) -> Any:
    import ray

    try:
        return ray.init(
            address="local",
            include_dashboard=dashboard,
            log_to_driver=False,
            logging_level=logging.WARNING,
            object_store_memory=100 * 2**20,
            num_gpus=len(cards()) if os.environ.get(SIMULATED) else None,
            _temp_dir=str(scratch),
        )
    except (ConnectionError, RuntimeError, OSError, TimeoutError) as error:
        raise ClusterError(f"Ray does not start on this machine: {_first_line(error)}") from None


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
    told = ray.get([ask.options(scheduling_strategy=On(node.name, soft=False)).remote() for node in asked])
    for node, sizes in zip(asked, told, strict=True):
        if not sizes:
            raise ClusterError(
                f"resources.gpus: auto needs to know how much memory a GPU has, but nvidia-smi does not tell it on the "
                f"machine {node.address}. Write gpus: 0.5, say."
            )
    known = {node.name: min(sizes) for node, sizes in zip(asked, told, strict=True)}
    return [replace(node, card=known.get(node.name, 0)) for node in nodes]


def _sweep() -> None:
    """Delete what killed drivers of this user have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not _lives(int(pid)):
            if folder.is_symlink():
                folder.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    """Tell whether a process is there; one of another user counts as such."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _processes(scratch: Path) -> list[int]:
    """Find the processes of a Ray of our own: they name its folder, or have Ray's names and write their logs there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = str(scratch).encode() in (process / "cmdline").read_bytes()
            if named or ((process / "comm").read_text().startswith("ray::") and _writes_into(process, scratch)):
                found.append(int(process.name))
    return found


def _kill(processes: Sequence[int]) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _writes_into(process: Path, folder: Path) -> bool:
    return any(os.readlink(file).startswith(f"{folder}/") for file in (process / "fd").iterdir())


def _keep(scratch: Path, folder: Path) -> None:
    for logs in scratch.glob("session_2*/logs"):
        with contextlib.suppress(OSError, shutil.Error):  # logs are not worth an error of their own
            shutil.copytree(logs, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("old", "tuner"))
