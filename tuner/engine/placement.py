"""How many trials fit on the cluster, and what Ray is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from ray.tune.execution.placement_groups import PlacementGroupFactory

from tuner.errors import ClusterError
from tuner.spec.experiment import Experiment, Resources

Node = dict[str, float]
"""Resources of one machine, such as {"CPU": 8, "GPU": 2}."""


def slots(spec: Experiment, nodes: Sequence[Node]) -> int:
    """Count the trials that run at once; raises ClusterError where not one fits."""
    fitting = sum(_fit(spec.resources, node) for node in nodes)
    if fitting == 0:
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU")}
        raise ClusterError(
            f"resources: a trial must fit on one machine, but it asks for {spec.resources.cpus} CPUs and "
            f"{spec.resources.gpus} GPUs, and the largest has {most['CPU']:g} CPUs and {most['GPU']:g} GPUs. "
            "Ask for less, or add a machine."
        )
    return min(fitting, spec.resources.max_trials or fitting, spec.trials)


def bundles(resources: Resources) -> PlacementGroupFactory:
    """Build what Ray is asked for, for one trial."""
    return PlacementGroupFactory([{"CPU": resources.cpus, "GPU": resources.gpus}])


def _fit(resources: Resources, node: Node) -> int:
    by_cpu = int(node.get("CPU", 0) // resources.cpus)
    return min(by_cpu, int(node.get("GPU", 0) // resources.gpus)) if resources.gpus else by_cpu
