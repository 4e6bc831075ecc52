"""A run on a cluster that grows: Ray's own autoscaler brings the machines, as processes on this one."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from hosts import STEADY, Driver, kill, spelled
from support import environment, free_ports, records

from tuner.core.records import Machines, Session
from tuner.engine.growth import VARIABLE

PROVIDER = """
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class Provider(FakeMultiNodeProvider):
    pass
"""
HEAD = "f" * 51 + "00000"
KIND = {"CPU": 1, "GPU": 1}
LISTS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
)  # fmt: skip


@contextmanager
def growing_cluster() -> Iterator[str]:
    """Start a head without GPUs, beside which up to two machines with one may come; gives its address."""
    from ray._private.services import get_node_ip_address

    with tempfile.TemporaryDirectory(prefix="rg", dir="/tmp") as scratch:
        (port,) = free_ports(1)
        address = f"{get_node_ip_address()}:{port}"
        (Path(scratch) / "growing_provider.py").write_text(PROVIDER)
        config = Path(scratch) / "cluster.json"
        config.write_text(json.dumps(cluster_config(address)))
        words = ["start", "--head", "--num-cpus=1", "--num-gpus=0", f"--port={port}", f"--temp-dir={scratch}"]
        words += [f"--autoscaling-config={config}", "--object-store-memory=80000000", "--include-dashboard=false"]
        variables = {
            **environment(), "RAY_TMPDIR": scratch, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_enable_autoscaler_v2": "0", "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD, "PYTHONPATH": scratch,
        }  # fmt: skip
        try:
            subprocess.run(
                [sys.executable, "-m", "ray.scripts.scripts", *words], env=variables, check=True, capture_output=True
            )
            yield address
        finally:
            kill([one for one in psutil.process_iter() if scratch in spelled(one)])


def cluster_config(address: str) -> dict:
    kinds = {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {**KIND, "object_store_memory": 80000000}, "node_config": {}, "max_workers": 2},
    }
    provider = {"type": "external", "module": "growing_provider.Provider", "gcs_address": address}
    return {
        "cluster_name": "growing", "max_workers": 2, "idle_timeout_minutes": 1, "upscaling_speed": 10,
        "provider": provider, "available_node_types": kinds, "head_node_type": "ray.head.default", "auth": {},
        "docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False, **{name: [] for name in LISTS},
    }  # fmt: skip


def test_a_run_asks_for_the_machines_that_it_needs_and_waits_for_them(write, tmp_path: Path) -> None:
    write(STEADY, budget={"trials": 2, "epochs": 3}, scheduler={"kind": "none"}, resources={"gpus": 1})
    flags = ("--space", "mine.yaml", "--name", "r", "--address")
    with growing_cluster() as address:
        with Driver(tmp_path, (*flags, address)) as driver:
            assert "There is no GPU here" in driver.ends(3, alone=False), "nobody says that any will come"
        told = {VARIABLE: json.dumps([KIND])}
        with Driver(tmp_path, ("--resume", "r", "--address", address), **told) as driver:
            driver.ends(0, alone=False)
    known = records(tmp_path / "runs" / "r")
    assert next(one.slots for one in known if isinstance(one, Session)) == 0
    assert next(one.slots for one in known if isinstance(one, Machines)) >= 1
