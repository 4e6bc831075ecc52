"""What a run would have to place its trials on, for `--check`: no Ray is started for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.engine import cluster as clusters
from tuner.engine.growth import may_come
from tuner.engine.machines import Node
from tuner.engine.placement import Placement
from tuner.engine.survey import survey
from tuner.slot.code import Code
from tuner.spec.experiment import Experiment
from tuner.trial.meter import SIMULATED, cards

CGROUP = Path("/sys/fs/cgroup")
"""Where the kernel says what a container may use."""
Found = tuple[list[Node], str]
"""The machines, and what they are in words."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where trials would run."""

    slots: int
    """How many trials fit at once."""
    where: str
    nodes: Sequence[Node]
    findings: Mapping[str, Sequence[str]]
    """What is wrong on which machine of a cluster, by Ray's id of it."""


def places(
    spec: Experiment,
    address: str | None,
    dashboard: bool,
    store: Path | str,
    code: Code,
    travels: Callable[[], Path | None],
) -> Places:
    """Find how many trials of a run fit at once, and on what; raises ClusterError where one does not fit.

    On a cluster each machine is asked whether it shares the folder of runs, or can write below their URL, and can
    import the trainable. Raises UserError too where this machine cannot write below the URL.
    """
    if clusters.existing(address):
        nowhere = Path(os.devnull)  # it has no logs of ours
        with clusters.prepared(dashboard), clusters.connect(address, dashboard, nowhere, travels) as joined:
            found_wrong = survey(joined.nodes, store, code, joined.shipped)
            nodes = [node for node in joined.nodes if node.name in found_wrong]
            slots = Placement(spec, nodes, may_come()).slots
            return Places(slots, clusters.told(nodes, local=False), nodes, found_wrong)
    if isinstance(store, str):
        from tuner.storage.url import probe

        probe(store)
    # Its GPUs are also named where a trial asks for too many CPUs.
    nodes, where = machine(any(one.gpus or one.cpus > _cpus() for one in spec.resource_entries))
    return Places(Placement(spec, nodes).slots, where, nodes, {})


def machine(gpus: bool) -> Found:
    """Look at this machine as Ray does when it starts; its GPUs only where they are asked for: Ray imports slowly."""
    if not gpus:
        nodes = [Node(_cpus())]
        return nodes, clusters.told(nodes, local=True, names=("CPU",))
    with clusters.prepared(dashboard=False):
        from ray._private import accelerators, utils

    manager = accelerators.get_accelerator_manager_for_resource("GPU")
    count = manager.get_current_node_num_accelerators()
    visible = manager.get_current_process_visible_accelerator_ids()
    count = count if visible is None else min(count, len(visible))
    count = len(cards()) if os.environ.get(SIMULATED) else count
    nodes = [Node(float(utils.get_num_cpus(override_docker_cpu_warning=True)), count)]
    return nodes, clusters.told(nodes, local=True)


def _cpus() -> int:
    """Count the CPUs as Ray's `get_num_cpus` does: a container may have been given fewer than the machine has."""
    if os.environ.get("RAY_USE_MULTIPROCESSING_CPU_COUNT"):
        return os.cpu_count() or 1
    limits = [limit for limit in (_quota(), _cpuset()) if limit]
    return int(min(limits)) if limits else os.cpu_count() or 1


def _quota() -> float | None:
    """Read how many CPUs' time a container may take; None where there is no limit."""
    first = [CGROUP / "cpu" / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    files = first if all(file.exists() for file in first) else [CGROUP / "cpu.max"]
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # there is no such file, or no limit in it
        quota, period = (float(part) for file in files for part in file.read_text().split())
        return None if quota < 0 else quota / period or 1
    return None


def _cpuset() -> int | None:
    """Count the CPUs that a container may use, by the first version of cgroups: Ray does not look at the second's."""
    with contextlib.suppress(OSError, ValueError):
        ranges = [part.split("-") for part in (CGROUP / "cpuset" / "cpuset.cpus").read_text().split(",")]
        return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges)
    return None
