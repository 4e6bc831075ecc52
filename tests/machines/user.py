"""What a user does to have a cluster: fill in cluster.yaml, type Ray's commands, look at it through a tunnel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import ROOT, environment, free_ports, wait_for

from machines.made import Machines

RAY = str(Path(sys.executable).parent / "ray")


def furnish(home: Path, wheels: Path) -> None:
    """Make the home that every machine begins with: a virtual environment that has the packages already.

    So `pip install` of the set-up commands runs for real, and downloads nothing.
    """
    venv.create(home / "tuner-env", symlinks=True)
    (site,) = (home / "tuner-env" / "lib").glob("python3*/site-packages")
    (installed,) = (Path(sys.prefix) / "lib").glob(f"{site.parent.name}/site-packages")
    (site / "packages.pth").write_text(f"{installed}\n")
    scripts, ours = home / "tuner-env" / "bin", Path(sys.executable).parent
    for name in ("pip", "ray", "tensorboard"):
        script = re.sub(
            rf"{re.escape(str(ours))}/python[\d.]*", "/root/tuner-env/bin/python", (ours / name).read_text()
        )
        (scripts / name).write_text(script)
        (scripts / name).chmod(0o755)
    activate = scripts / "activate"
    activate.write_text(activate.read_text().replace(str(home), "/root"))
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, "setuptools>=77"], check=True
    )
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text(f"[install]\nno-index = true\nfind-links = {wheels}\n")


class User:
    """Somebody at a machine of their own, with a home, in this project's folder."""

    def __init__(self, home: Path, machines: Machines) -> None:
        self.home, self._machines = home, machines
        self.file = home / "cluster.yaml"
        home.mkdir(exist_ok=True)
        self._environment = {
            **environment(), "HOME": str(home), "TMPDIR": str(home), "RAY_TMPDIR": str(home),
        }  # fmt: skip

    def fill_in(self, workers: Sequence[int]) -> None:
        """Write the four places of cluster.yaml, and that each machine shall use three CPUs, and have one GPU."""
        text = (ROOT / "cluster.yaml").read_text()
        addresses = ", ".join(self._machines.address(number) for number in workers)
        for key, value in {
            "head_ip": self._machines.address(0), "worker_ips": f"[{addresses}]", "ssh_user": "root",
            "ssh_private_key": str(self._machines.key),
        }.items():  # fmt: skip
            text, changed = re.subn(rf"(?m)^  {key}: .*# <-.*$", f"  {key}: {value}", text)
            assert changed == 1, key
        text, changed = re.subn(
            r"(?m)^    ray start --(head|address)", r"    ray start --num-cpus=3 --num-gpus=1 --\1", text
        )
        assert changed == 2
        self.file.write_text(text)

    def ray(self, *words: str, fails: bool = False, **more: str) -> str:
        """Type a command of Ray's that shall succeed, or fail; returns what it said."""
        code, said = self._ray(*words, **more)
        assert (code != 0) is fails, said
        return said

    def up(self, *words: str) -> None:
        """Type `ray up`."""
        self.ray("up", "-y", *words, str(self.file))

    def _ray(self, *words: str, **more: str) -> tuple[int, str]:
        done = subprocess.run(
            [RAY, *words], cwd=ROOT, env={**self._environment, **more}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=420, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def token(self) -> str:
        """Make the token, as the file says."""
        self.ray("get-auth-token", "--generate")
        return (self.home / ".ray" / "auth_token").read_text()

    @contextmanager
    def dashboard(self) -> Iterator[Dashboard]:
        """Hold the tunnel to the dashboard open."""
        (port,) = free_ports(1)
        with self._held("dashboard", str(self.file), "--port", str(port)):
            board = Dashboard(port, self.token())
            wait_for(lambda: board.status("/api/version") == 200, 60)
            yield board

    @contextmanager
    def tensorboard(self, folder: Path) -> Iterator[TensorBoard]:
        """Have TensorBoard show a folder on the head, and hold the tunnel to it open."""
        (port,) = free_ports(1)
        there = f"tensorboard --logdir {folder} --host 127.0.0.1 --port {port}"
        with self._held("exec", str(self.file), "--port-forward", str(port), there):
            yield TensorBoard(port)

    @contextmanager
    def _held(self, *words: str) -> Iterator[None]:
        """Type a command of Ray's that goes on until Ctrl-C."""
        with (self.home / f"{words[0]}.txt").open("w") as log, subprocess.Popen(
            [RAY, *words], cwd=ROOT, env=self._environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                yield
            finally:
                os.killpg(process.pid, 15)


class TensorBoard:
    """TensorBoard on the head, at the near end of a tunnel."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def shown(self) -> set[str]:
        """Name what it has scalars of, each trial being a run of its own; nothing while it starts."""
        try:
            with urllib.request.urlopen(f"{self.address}/data/plugin/scalars/tags", timeout=10) as answer:
                return set(json.load(answer))
        except OSError:
            return set()


class Dashboard:
    """The head's dashboard at the near end of a tunnel."""

    def __init__(self, port: int, token: str) -> None:
        self.address, self._token = f"http://127.0.0.1:{port}", token

    def status(self, path: str, token: str | None = None) -> int:
        """Tell how a request is answered; 0 if not at all."""
        try:
            return self._open(path, self._token if token is None else token).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def get(self, path: str) -> Any:
        """Ask for JSON."""
        with self._open(path, self._token) as answer:
            return json.load(answer)

    def job(self, name: str) -> str:
        """Tell how a job stands."""
        return str(self.get(f"/api/jobs/{name}")["status"])

    def alive(self) -> set[str]:
        """Tell the addresses of the nodes that live."""
        nodes = self.get("/api/v0/nodes")["data"]["result"]["result"]
        return {node["node_ip"] for node in nodes if node["state"] == "ALIVE"}

    def _open(self, path: str, token: str) -> Any:
        request = urllib.request.Request(self.address + path)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        return urllib.request.urlopen(request, timeout=10)
