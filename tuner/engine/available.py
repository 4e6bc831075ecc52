"""What a run would have to place its trials on, for `--check`: nothing is started for it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tuner.engine import cluster as clusters
from tuner.engine.machines import Node
from tuner.engine.placement import Placement
from tuner.spec.experiment import Experiment
from tuner.trial.meter import SIMULATED, cards

QUOTAS = (("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"), ("/sys/fs/cgroup/cpu.max",))
"""Where the kernel says how much of how many microseconds a container may compute."""
Found = tuple[list[Node], str]
"""The machines, and what they are in words."""


def places(spec: Experiment, address: str | None, dashboard: bool) -> tuple[int, str]:
    """Find how many trials of a run fit at once, and on what; raises ClusterError where one does not fit."""
    found = clusters.existing(address)
    # Its GPUs are also named where a trial asks for too many CPUs.
    asked = not found and any(one.gpus or one.cpus > _cpus() for one in spec.resource_entries)
    nodes, where = cluster(found, dashboard) if found else machine(asked)
    return Placement(spec, nodes).slots, where


def cluster(address: str, dashboard: bool) -> Found:
    """Ask a cluster what it has: join it, and leave it again."""
    clusters.prepare(dashboard)
    with clusters.connect(address, dashboard, keep_logs=Path(os.devnull)) as joined:  # it has no logs of ours
        return joined.nodes, clusters.told(joined.nodes, local=False)


def machine(gpus: bool) -> Found:
    """Look at this machine as Ray does when it starts; its GPUs only where they are asked for: Ray imports slowly."""
    if not gpus:
        nodes = [Node(_cpus())]
        return nodes, clusters.told(nodes, local=True, names=("CPU",))
    clusters.prepare(dashboard=False)
    from ray._private import accelerators, utils

    manager = accelerators.get_accelerator_manager_for_resource("GPU")
    count = manager.get_current_node_num_accelerators()
    visible = manager.get_current_process_visible_accelerator_ids()
    count = count if visible is None else min(count, len(visible))
    count = len(cards()) if os.environ.get(SIMULATED) else count
    nodes = [Node(float(utils.get_num_cpus(override_docker_cpu_warning=True)), count)]
    return nodes, clusters.told(nodes, local=True)


def _cpus() -> int:
    """Count the CPUs as Ray does: a container may have been given fewer than the machine has."""
    cpus = os.cpu_count() or 1
    for files in QUOTAS:
        with contextlib.suppress(OSError, ValueError):  # there is no such file, or no limit in it
            quota, period = (float(part) for file in files for part in Path(file).read_text().split())
            return min(cpus, int(quota / period)) if quota > 0 else cpus
    return cpus
