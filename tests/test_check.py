"""What `--check` says of the machine, and what it refuses; no Ray is started."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from tuner.cli import main
from tuner.engine import available
from tuner.engine import cluster as clusters
from tuner.engine.beside import METRICS


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no cluster, and a machine of eight CPUs."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr("multiprocessing.cpu_count", lambda: 8)
    monkeypatch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray find four GPUs."""
    from ray._private import accelerators

    manager = accelerators.NvidiaGPUAcceleratorManager
    monkeypatch.setattr(clusters, "prepared", lambda dashboard: nullcontext())
    monkeypatch.setattr(accelerators, "get_accelerator_manager_for_resource", lambda name: manager)
    monkeypatch.setattr(manager, "get_current_node_num_accelerators", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def check(*settings: str) -> int:
    sets = [part for setting in settings for part in ("--set", setting)]
    return main(["--space", "debug.yaml", "--check", *sets])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["resources.cpus=2"], "trials at once   4 on this machine: 8 CPUs"),
        (["resources.max_trials=3"], "trials at once   3 on this machine: 8 CPUs"),
        (["budget.trials=5"], "trials at once   5 on this machine: 8 CPUs"),
    ],
)
def test_so_many_trials_run_at_once_as_are_placed(
    settings: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(*settings) == 0
    assert said in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n", "cpu.max": "100000 100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "0\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpuset/cpuset.cpus": "0-2,7\n"}, 4),
        ({"cpuset/cpuset.cpus": "0-2,7\n", "cpu.max": "300000 100000"}, 3),
        ({"cpuset/cpuset.cpus": "5\n", "cpu.max": "300000 100000"}, 1),
        ({"cpuset/cpuset.cpus": "\n"}, 8),
    ],
)
def test_a_container_has_the_cpus_that_ray_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int
) -> None:
    from ray._private import utils

    monkeypatch.setattr(available, "CGROUP", tmp_path)
    names = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "cpuset/cpuset.cpus", "cpu.max")
    monkeypatch.setattr(utils._get_docker_cpus, "__defaults__", tuple(str(tmp_path / name) for name in names))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available._cpus() == utils.get_num_cpus() == 8, "it may be told to count those of the machine"
    monkeypatch.delenv("RAY_USE_MULTIPROCESSING_CPU_COUNT")
    assert available._cpus() == utils.get_num_cpus() == cpus


@pytest.mark.parametrize(
    ("visible", "setting", "said"),
    [
        (None, "resources.gpus=1", "trials at once   4 on this machine: 8 CPUs, 4 GPUs"),
        (None, "resources.gpus=0.5", "trials at once   8 on this machine: 8 CPUs, 4 GPUs"),
        ("1,3", "resources.gpus=1", "trials at once   2 on this machine: 8 CPUs, 2 GPUs"),
        ("1,3", "resources={gpus: 2, ranks: 1}", "trials at once   1 on this machine: 8 CPUs, 2 GPUs"),
    ],
)
def test_the_gpus_are_those_that_ray_would_use(
    gpus: None, visible: str | None, setting: str, said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert check(setting) == 0
    assert said in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("visible", "setting", "said"),
    [
        ("0,1", "resources={gpus: 3, ranks: 1}",
         "asks for 1 CPUs and 3 GPUs, and the largest has 8 CPUs and 2 GPUs. Ask for less, or add a machine."),
        ("0,1", "resources.cpus=9",
         "asks for 9 CPUs and 0 GPUs, and the largest has 8 CPUs and 2 GPUs. Ask for less, or add a machine."),
        ("", "resources.gpus=0.25",
         "asks for 1 CPUs and 0.25 GPUs, and the largest has 8 CPUs and 0 GPUs. There is no GPU here: set gpus to 0, "
         "or name a cluster that has some with --address."),
    ],
)  # fmt: skip
def test_what_fits_on_no_machine_is_refused_with_what_there_is(
    gpus: None, visible: str, setting: str, said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert check(setting) == 3
    told = capsys.readouterr()
    assert told.err == f"resources: a trial must fit on one machine, but it {said}\n"
    assert told.out == ""


def test_a_cluster_that_does_not_answer_is_said_as_at_the_start_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "debug.yaml", "--check", "--address", "127.0.0.1:9"]) == 3
    assert "--address: must be a Ray cluster that answers, but 127.0.0.1:9 does not" in capsys.readouterr().err


@pytest.mark.parametrize("before", [None, "1"])
def test_metrics_are_left_out_for_one_run_alone(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "QUIET", {})
    monkeypatch.delenv(METRICS, raising=False)
    if before is not None:
        monkeypatch.setenv(METRICS, before)
    with clusters.prepared(dashboard=False):
        assert os.environ[METRICS] == "0"
    assert os.environ.get(METRICS) == before
    with clusters.prepared(dashboard=True):
        assert os.environ.get(METRICS) == before
