"""cluster/kuberay.yaml against the fields of the RayCluster resource (KubeRay's API reference) and of pods."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.scripts.scripts import start
from support import ROOT

# kind of thing → its fields, and what kind of thing each holds; None: a value, or something with keys of its own
FIELDS: dict[str, dict[str, str | None]] = {
    "RayCluster": {"apiVersion": None, "kind": None, "metadata": "Metadata", "spec": "Spec"},
    "Metadata": {"name": None, "namespace": None, "labels": None, "annotations": None},
    "Spec": {
        "rayVersion": None, "enableInTreeAutoscaling": None, "autoscalerOptions": "Autoscaler", "authOptions": None,
        "headGroupSpec": "Head", "workerGroupSpecs": "Worker", "gcsFaultToleranceOptions": None, "suspend": None,
        "managedBy": None, "headServiceAnnotations": None,
    },
    "Autoscaler": {
        "resources": "Resources", "image": None, "imagePullPolicy": None, "securityContext": None, "version": None,
        "idleTimeoutSeconds": None, "upscalingMode": None, "env": "Variable", "envFrom": None, "volumeMounts": None,
    },
    "Head": {
        "template": "Template", "headService": None, "enableIngress": None, "rayStartParams": None, "serviceType": None,
    },
    "Worker": {
        "groupName": None, "replicas": None, "minReplicas": None, "maxReplicas": None, "idleTimeoutSeconds": None,
        "rayStartParams": None, "template": "Template", "scaleStrategy": None, "numOfHosts": None, "suspend": None,
    },
    "Template": {"metadata": "Metadata", "spec": "Pod"},
    "Pod": {
        "containers": "Container", "initContainers": "Container", "restartPolicy": None, "volumes": None,
        "nodeSelector": None, "tolerations": None, "serviceAccountName": None, "imagePullSecrets": None,
    },
    "Container": {
        "name": None, "image": None, "imagePullPolicy": None, "command": None, "args": None, "env": "Variable",
        "ports": "Port", "resources": "Resources", "volumeMounts": None, "lifecycle": None, "securityContext": None,
    },
    "Variable": {"name": None, "value": None, "valueFrom": "Source"},
    "Source": {"secretKeyRef": "Key", "configMapKeyRef": "Key", "fieldRef": None},
    "Key": {"name": None, "key": None, "optional": None},
    "Port": {"name": None, "containerPort": None, "protocol": None},
    "Resources": {"requests": None, "limits": None},
}  # fmt: skip
NEEDED = {
    "RayCluster": {"apiVersion", "kind", "metadata", "spec"}, "Spec": {"headGroupSpec"}, "Head": {"template"},
    "Worker": {"groupName", "template", "minReplicas", "maxReplicas"}, "Pod": {"containers"}, "Variable": {"name"},
    "Container": {"name", "image"}, "Key": {"name", "key"}, "Port": {"containerPort"},
}  # fmt: skip


def problems(thing: Any, kind: str, at: str = "") -> list[str]:
    """Compare what stands there with what may and must stand there."""
    if isinstance(thing, list):
        return [problem for number, one in enumerate(thing) for problem in problems(one, kind, f"{at}[{number}]")]
    found = [f"{at}.{key}: unknown" for key in thing if key not in FIELDS[kind]]
    found += [f"{at}.{key}: missing" for key in NEEDED.get(kind, ()) if key not in thing]
    for key, inner in FIELDS[kind].items():
        if inner and key in thing:
            found += problems(thing[key], inner, f"{at}.{key}")
    return found


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster" / "kuberay.yaml").read_text())


def containers(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_all_fields_are_those_of_the_resource(cluster) -> None:
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert problems(cluster, "RayCluster") == []


def test_a_field_that_is_misspelled_is_found(cluster) -> None:
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["envs"] = []
    del cluster["spec"]["workerGroupSpecs"][0]["groupName"]
    assert problems(cluster, "RayCluster") == [
        ".spec.headGroupSpec.template.spec.containers[0].envs: unknown",
        ".spec.workerGroupSpecs[0].groupName: missing",
    ]


def test_every_container_gets_the_token_from_the_secret(cluster) -> None:
    for container in [*containers(cluster), cluster["spec"]["autoscalerOptions"]]:
        variables = {one["name"]: one.get("value") or one["valueFrom"] for one in container["env"]}
        assert variables["RAY_AUTH_MODE"] == "token"
        assert variables["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": "tuner-token", "key": "auth_token"}}


def test_nothing_is_open_to_the_outside(cluster) -> None:
    head = cluster["spec"]["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP" and "enableIngress" not in head
    assert head["rayStartParams"]["dashboard-host"] == "127.0.0.1"


def test_ray_is_started_as_it_is_elsewhere(cluster) -> None:
    head, (worker,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    known = {name.removeprefix("--") for option in start.params for name in option.opts}
    for group in (head, worker):
        assert set(group["rayStartParams"]) <= known
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert group["rayStartParams"]["metrics-export-port"] == "8080"
        assert {"name": "metrics", "containerPort": 8080} in group["template"]["spec"]["containers"][0]["ports"]
    (stop,) = [one for one in containers(cluster)[0]["env"] if one["name"] == "RAY_JOB_STOP_WAIT_TIME_S"]
    assert stop["value"] == "30"


def test_versions_are_those_of_the_constraints(cluster) -> None:
    assert f"ray=={cluster['spec']['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    image = (ROOT / "cluster" / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{cluster['spec']['rayVersion']}-py311\n" in image
    assert "-c /home/ray/tuner/constraints.txt" in image


def test_the_image_gets_no_runs_no_data_and_no_history() -> None:
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", "runs", "data"} <= set(left_out)
    needed = ("tuner", "trainables", "search_spaces", "pyproject.toml", "constraints.txt", "launch.py")
    needed += ("README.md", "LICENSE")
    assert not set(needed) & set(left_out)
    ours = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert ours <= {line.removeprefix("**/") for line in left_out}


def test_a_head_without_gpu_and_gpu_workers_that_come_and_go(cluster) -> None:
    head, worker = containers(cluster)
    assert cluster["spec"]["enableInTreeAutoscaling"] is True
    assert "nvidia.com/gpu" not in head["resources"]["limits"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (group,) = cluster["spec"]["workerGroupSpecs"]
    assert group["minReplicas"] == 0 < group["maxReplicas"]
