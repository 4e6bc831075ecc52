"""Names for this machine and its processes, by which another process knows whether it is the same one, and alive.

Temporary folders bear them: a folder that several machines or containers share holds those of all.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

SHORT = "/tmp"
LONGEST = 107 if sys.platform == "linux" else 103
"""Characters that the name of a socket may have."""
RANDOM = 8
"""So many `tempfile` adds to a name."""


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


def mark(pid: int) -> str:
    """Begin the names of a process's temporary folders; short, since Ray's sockets lie below one of them."""
    return f"{_marks()}{pid}"


def scratch(kind: str = "", socket: str = "") -> Path:
    """Make a temporary folder of this process, once those that dead ones of this machine have left are deleted.

    It lies in /tmp where the name of a socket below it would be too long in the usual folder, as on macOS.
    """
    sweep()
    start = f"{mark(os.getpid())}-{kind}"
    fits = not socket or len(f"{tempfile.gettempdir()}/{start}{'.' * RANDOM}/{socket}") <= LONGEST
    return Path(tempfile.mkdtemp(prefix=start, dir=None if fits else SHORT))


def scratches(start: str) -> list[Path]:
    """Find the temporary folders, and what lies beside them, whose names begin so."""
    return [path for place in _places() for path in Path(place).glob(f"{start}*")]


def beginnings(pid: int) -> list[str]:
    """Tell how the paths of a process's temporary folders begin, also of those that it has yet to make."""
    return [f"{place}/{mark(pid)}-" for place in _places()]


def sweep() -> None:
    """Delete what killed processes of this machine have left; whether those of another one live nobody knows here."""
    for left in scratches(_marks()):
        pid = left.name.removeprefix(_marks()).partition("-")[0]
        if pid.isdecimal() and not _lives(int(pid)):
            if left.is_symlink():  # to the file for Prometheus
                with contextlib.suppress(OSError):  # another user's
                    left.unlink(missing_ok=True)
            shutil.rmtree(left, ignore_errors=True)


def _places() -> list[str]:
    return list(dict.fromkeys((tempfile.gettempdir(), SHORT)))


def _marks() -> str:
    where = base64.b32encode(hashlib.sha256(this_machine().encode()).digest()).decode()
    return f"tuner-{where[:4].lower()}-"


def _lives(pid: int) -> bool:
    """Tell whether a process is there; one of another user counts as such."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
