"""Machines made of namespaces: network, processes, mounts and name of their own, and an ssh server on port 22.

The namespace of processes is what makes `ray stop` harmless, which kills by name whatever it can see.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = ("ip", "unshare", "setpriv", "sshd", "ssh", "ssh-keygen", "rsync")
SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

# Runs as the first process of a machine. Below /tmp and /root it sees nothing of this one but what is named.
BOOT = """
set -e
hostname {name}
mount -t tmpfs none /mnt && mkdir /mnt/tmp /mnt/root
mount --rbind /tmp /mnt/tmp && mount --rbind /root /mnt/root
mount -t tmpfs none /tmp && chmod 1777 /tmp && mount -t tmpfs none /dev/shm && mount --bind /mnt{home} /root
for path in {seen}; do
  case $path in /tmp/*|/root/*) mkdir -p $path && mount --rbind /mnt$path $path;; esac
done
umount -l /mnt
mkdir -p /run/sshd
exec {sshd} -D -e -f /dev/null -p 22 -h {host_key} -o AuthorizedKeysFile={key}.pub -o StrictModes=no \\
  -o PermitRootLogin=prohibit-password -o UsePAM=no -o PidFile=none -o MaxStartups=100
"""


def missing() -> str:
    """Say what keeps this machine from being divided; nothing if it can be."""
    if os.geteuid():
        return "only root can make machines out of namespaces"
    if absent := [command for command in COMMANDS if shutil.which(command, path=SBIN) is None]:
        return f"not installed here: {', '.join(absent)}"
    needs = "mount -t tmpfs none /mnt && ip link add name b type bridge && ip link add name v type veth peer name w"
    probe = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--mount-proc", "sh", "-c", needs]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"no namespaces can be made here: {done.stderr.strip()}" if done.returncode else ""


class Machines:
    """A network with machines, which end with this block and take all that runs on them along."""

    def __init__(self, folder: Path, home: Path, seen: Sequence[Path]) -> None:
        """Keep keys, logs and disks in a folder below /tmp; each machine begins with a copy of the home."""
        self.folder, self._home = folder, home
        self._seen = [folder, *seen]
        self._bridge, self._net = f"mb{os.getpid()}", f"10.78.{os.getpid() % 250}"
        self.key = folder / "id"
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Machines:
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in (self.key, self.folder / "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        _sweep()
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("address", "add", f"{self._net}.1/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
        except subprocess.CalledProcessError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for number in list(self._running):
            self.off(number)
        subprocess.run(["ip", "link", "del", self._bridge], check=False, capture_output=True)

    @property
    def gateway(self) -> str:
        """Tell the address by which the machines see this one."""
        return f"{self._net}.1"

    def address(self, number: int) -> str:
        """Tell the address of a machine."""
        return f"{self._net}.{number + 10}"

    def name(self, number: int) -> str:
        """Tell the host name of a machine."""
        return f"m{os.getpid()}-{number}"

    def on(self, number: int) -> None:
        """Switch a machine on; its home is as it was left, or as every machine's is in the beginning."""
        name, inside = self.name(number), f"v{os.getpid()}-{number}"
        _ip("netns", "add", name)
        _ip("link", "add", inside, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", inside, "master", self._bridge, "up")
        _ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        _ip("-n", name, "route", "add", "default", "via", f"{self._net}.1")
        disk = self.folder / f"home{number}"
        if not disk.exists():
            shutil.copytree(self._home, disk, symlinks=True)
        boot = BOOT.format(
            name=name, seen=shlex.join(map(str, self._seen)), home=disk, key=self.key,
            host_key=self.folder / "host_key", sshd=shutil.which("sshd", path=SBIN),
        )  # fmt: skip
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[number] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", name,
                 "unshare", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc", "bash", "-c", boot],
                env={"PATH": SBIN, "LANG": "C.UTF-8"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def off(self, number: int) -> None:
        """Pull the plug: every process of a machine is killed at once, and its address is gone."""
        machine = self._running.pop(number)
        machine.kill()
        machine.wait()
        subprocess.run(["ip", "netns", "del", self.name(number)], check=False)
        with contextlib.suppress(OSError):
            subprocess.run(["ip", "link", "del", f"v{os.getpid()}-{number}"], check=False, capture_output=True)

    def ssh(self, number: int, command: str) -> str:
        """Run a command on a machine; returns what it printed, also where it fails. Raises where ssh itself does."""
        flags = ["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", str(self.key)]
        done = subprocess.run(
            ["ssh", *flags, f"root@{self.address(number)}", command],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode == 255:  # ssh's own: "" would be taken for an answer
            raise OSError(f"no ssh to {self.name(number)}: {done.stderr.strip()}")
        return done.stdout


def _sweep() -> None:
    """Delete networks of tests that were killed; their machines went with them."""
    for link in Path("/sys/class/net").glob("mb*"):
        if is_left(link.name, r"mb(\d+)"):
            subprocess.run(["ip", "link", "del", link.name], check=False)
    for name in Path("/run/netns").glob("m*-*"):
        if is_left(name.name, r"m(\d+)-\d+"):
            subprocess.run(["ip", "netns", "del", name.name], check=False)


def is_left(name: str, ours: str) -> bool:
    """Tell whether a name is like one of ours, and the process in it is gone."""
    match = re.fullmatch(ours, name)
    return match is not None and not Path("/proc", match[1]).exists()


def environment_of_this() -> list[Path]:
    """Name the folders of the Python that runs this."""
    return [Path(sys.prefix), Path(sys.base_prefix)]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
