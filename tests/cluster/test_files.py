"""The cluster files: against Ray's schema, Ray's own preparation, and what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.commands import _set_up_config_for_head_node
from ray.autoscaler._private.local.config import bootstrap_local
from ray.autoscaler._private.local.node_provider import LocalNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start
from support import ROOT

LOCAL, AWS, GCP = "cluster.yaml", "cluster/aws.yaml", "cluster/gcp.yaml"
CLOUDS, FILES = (AWS, GCP), (LOCAL, AWS, GCP)
COMMANDS = ("head_start_ray_commands", "worker_start_ray_commands")


def load(file: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / file).read_text())


def prepared(file: str) -> dict[str, Any]:
    """Do what `ray up` does with a file before it calls a cloud."""
    config = prepare_config(load(file))
    validate_config(config)
    return config


def started(file: str, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Read the one `ray start` among commands; returns what is set before it, and its flags, which Ray must know."""
    (command,) = [command for command in load(file)[kind] if "ray start" in command]
    (before, after) = re.findall(r"((?:\w+=\S+ )*)ray start ([^;]*)", command)[0]
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in after.split())
    known = {name.removeprefix("--") for option in start.params for name in option.opts}
    assert set(flags) <= known
    return dict(word.split("=") for word in before.split()), flags


@pytest.mark.parametrize("file", FILES)
def test_ray_takes_the_file(file: str) -> None:
    config = prepared(file)
    types = config["available_node_types"]
    workers = {name: kind["max_workers"] for name, kind in types.items() if file == LOCAL or name != "head"}
    assert set(workers.values()) == {config["max_workers"]}
    assert len(workers) == 1


def test_all_machines_of_ones_own_are_wanted() -> None:
    config = prepared(LOCAL)
    (kind,) = config["available_node_types"].values()
    assert kind["min_workers"] == len(load(LOCAL)["provider"]["worker_ips"]) == config["max_workers"]


def test_the_head_gets_key_and_paths_of_its_own(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    config = bootstrap_local(prepared(LOCAL))
    provider = LocalNodeProvider(config["provider"], config["cluster_name"])
    mounts = dict(config["file_mounts"])
    config, file = _set_up_config_for_head_node(config, provider, no_restart=False)
    on_head = yaml.safe_load(Path(file.name).read_text())
    assert on_head["auth"]["ssh_private_key"] == "~/ray_bootstrap_key.pem"
    assert on_head["file_mounts"] == {path: path for path in mounts}
    assert config["file_mounts"]["~/ray_bootstrap_config.yaml"] == file.name


@pytest.mark.parametrize("file", FILES)
def test_every_node_gets_the_token_and_insists_on_it(file: str) -> None:
    assert load(file)["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert load(file)["setup_commands"][0] == "chmod 600 ~/.ray/auth_token"
    for kind in COMMANDS:
        assert started(file, kind)[0]["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("file", FILES)
def test_the_dashboard_listens_on_the_loopback_of_the_head(file: str) -> None:
    assert started(file, COMMANDS[0])[1]["dashboard-host"] == "127.0.0.1"
    assert "dashboard-host" not in started(file, COMMANDS[1])[1]


@pytest.mark.parametrize("file", FILES)
def test_head_and_workers_agree_on_ports(file: str) -> None:
    (_, head), (_, worker) = (started(file, kind) for kind in COMMANDS)
    assert worker.pop("address") == f"$RAY_HEAD_IP:{head.pop('port')}"
    ports = {name: port for name, port in head.items() if name.endswith("-port")}
    assert worker == ports and "metrics-export-port" in ports
    table = (ROOT / "docs" / "cluster.md").read_text()
    for name, port in {**ports, "port": started(file, COMMANDS[0])[1]["port"]}.items():
        assert re.search(rf"(?m)^\| {port} \| `--{name}`", table), f"docs/cluster.md does not tell {port}, --{name}"


@pytest.mark.parametrize("file", FILES)
def test_the_head_starts_the_workers_and_lets_jobs_end(file: str) -> None:
    before, flags = started(file, COMMANDS[0])
    assert flags["autoscaling-config"] == "~/ray_bootstrap_config.yaml"
    assert before["RAY_JOB_STOP_WAIT_TIME_S"] == "30"
    # Version 2 counts a head of the same type among the workers; on clouds the head has a type of its own.
    assert before.get("RAY_enable_autoscaler_v2") == ("0" if file == LOCAL else None)
    assert ("AUTOSCALER_NODE_START_WAIT_S" in before) is (file == LOCAL), (
        "a rented machine that does not come is replaced"
    )


@pytest.mark.parametrize("file", FILES)
def test_every_node_gets_the_project_with_the_tested_versions(file: str) -> None:
    config = load(file)
    for where, what in config["file_mounts"].items():
        if what != "~/.ray/auth_token":
            assert where == f"~/tuner/{what}" and (ROOT / what).exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"]} <= set(config["file_mounts"].values()), "pip looks for them"
    (install,) = [command for command in config["setup_commands"] if "pip install" in command]
    (extras,) = re.findall(r"pip install -q -c constraints.txt -e '\.\[(.*)\]'", install)
    assert install.count(f"{{ echo '{extras}'; cat constraints.txt pyproject.toml; }}") == 2, "other extras are missed"
    assert all("-c ~/tuner/constraints.txt" in line for line in config["head_setup_commands"] if "pip install" in line)


def test_the_files_say_the_same_where_they_mean_the_same() -> None:
    local, aws, gcp = map(load, FILES)
    assert local["file_mounts"] == aws["file_mounts"] == gcp["file_mounts"]
    assert aws["setup_commands"] == gcp["setup_commands"]
    commands = zip(local["setup_commands"], aws["setup_commands"], strict=True)
    differing = [ours for ours, theirs in commands if ours != theirs]
    assert len(differing) == 1 and "venv" in differing[0], "Python comes from elsewhere there"
    assert started(AWS, COMMANDS[0]) == started(GCP, COMMANDS[0])
    assert started(LOCAL, COMMANDS[1]) == started(AWS, COMMANDS[1]) == started(GCP, COMMANDS[1])


@pytest.mark.parametrize("file", CLOUDS)
def test_clouds_have_a_head_without_gpu_and_spot_workers(file: str) -> None:
    config = load(file)
    head, gpu = (config["available_node_types"][name] for name in (config["head_node_type"], "gpu"))
    assert head["resources"] == {"CPU": 0} and gpu["min_workers"] == 0 and config["idle_timeout_minutes"] > 0
    assert "spot" in str(gpu["node_config"]).lower() and "spot" not in str(head["node_config"]).lower()
    role = {"aws": "IamInstanceProfile", "gcp": "serviceAccounts"}[config["provider"]["type"]]
    assert "tuner-worker" in str(gpu["node_config"][role]), "Ray gives its own to the head alone"
    cloud = config["provider"]["type"]
    assert any(f"-m tuner.spot {cloud}" in command for command in config["worker_start_ray_commands"])
    assert not any("tuner.spot" in command for command in config["head_start_ray_commands"])


@pytest.mark.parametrize("file", FILES)
def test_a_node_is_installed_anew_only_when_something_has_changed(file: str, tmp_path: Path) -> None:
    (install,) = [command for command in load(file)["setup_commands"] if "pip install" in command]
    pip = tmp_path / "tuner-env" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text('#!/bin/sh\necho "$@" >> ~/said\n')
    pip.chmod(0o755)
    (tmp_path / "tuner").mkdir()
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / "tuner" / name).write_text(name)

    def installs(command: str) -> int:
        subprocess.run(["bash", "-c", f"({command})"], env={**os.environ, "HOME": str(tmp_path)}, check=True)
        return len((tmp_path / "said").read_text().splitlines())

    assert [installs(install), installs(install)] == [1, 1]
    assert installs(install.replace("s3,gs", "s3")) == 2
    (tmp_path / "tuner" / "constraints.txt").write_text("another version")
    assert installs(install) == 3
    (tmp_path / "tuner" / "constraints.txt").write_text("yet another one")
    pip.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(subprocess.CalledProcessError):
        installs(install)
    pip.write_text('#!/bin/sh\necho "$@" >> ~/said\n')
    assert installs(install) == 4, "what failed is tried again"


@pytest.mark.parametrize(("failing", "code", "tries"), [(0, 0, 1), (2, 0, 3), (9, 1, 5)])
def test_a_worker_tries_again_to_start(tmp_path: Path, failing: int, code: int, tries: int) -> None:
    (command,) = [command for command in load(LOCAL)[COMMANDS[1]] if "ray start" in command]
    commands = {
        "ray": f'echo "$1" >> ~/said; [ "$1" != start ] || [ $(grep -c start ~/said) -gt {failing} ]',
        "sleep": "true",
    }
    (tmp_path / "tuner-env" / "bin").mkdir(parents=True)
    (tmp_path / "tuner-env" / "bin" / "activate").write_text(f"export PATH={tmp_path}:$PATH\n")
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(["bash", "-c", f"({command})"], env={**os.environ, "HOME": str(tmp_path)}, check=False)
    assert done.returncode == code
    said = (tmp_path / "said").read_text().split()
    assert said == ["start", "stop"] * (tries - 1) + ["start"] + ["stop"] * code
