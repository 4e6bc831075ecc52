"""Names for this machine and its processes, by which another process knows whether it is the same one, and alive."""

from __future__ import annotations

import os
from pathlib import Path


def this_machine() -> str:
    """Name this run of this machine, and the part of it whose processes this one sees; without spaces."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"host-{os.uname().nodename}"


def started(pid: int) -> str:
    """Tell when a process began, in the kernel's ticks: its number may be another's by now. Empty where it is gone.

    Where the kernel does not tell, every process is taken for one that lives.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else "unknown"
    return "" if stat[0] in "ZX" else stat[19]
