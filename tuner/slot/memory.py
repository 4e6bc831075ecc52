"""Out of memory, as it shows itself: an exception of torch's or Python's, or a kill by the kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
SIGNS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate",
    # What cuDNN and cuBLAS say where they find no memory for their own.
    "cudnn_status_not_initialized", "cudnn_status_alloc_failed", "cublas_status_alloc_failed",
    "unable to find an engine to execute this computation",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that there is no memory left, on a GPU or on the machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def is_of_gpu(error: BaseException) -> bool:
    """Tell whether an error for lack of memory speaks of a GPU's."""
    text = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or any(name in text for name in ("cuda", "cudnn", "cublas"))


def kernel_kills() -> int:
    """Count the processes that the kernel has killed for lack of memory (Linux; else 0).

    Those of this process's memory cgroup, where it has one that tells; else all of this machine.
    """
    for file in _counters():
        with contextlib.suppress(OSError, ValueError):
            counts = dict(line.split() for line in file.read_text().splitlines())
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return 0


def _counters() -> Iterator[Path]:
    """Yield the files that may say it, the closest first; a container may not see its group under its own name."""
    with contextlib.suppress(OSError, ValueError):
        for line in (PROC / "self" / "cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if not controllers:  # the second version of cgroups: a group counts the kills of those in it too
                group = GROUPS / name.lstrip("/")
                yield from (one / "memory.events" for one in (group, *group.parents) if one.is_relative_to(GROUPS))
            elif "memory" in controllers.split(","):
                root = GROUPS / "memory"
                yield from (one / "memory.oom_control" for one in (root / name.lstrip("/"), root))
    yield PROC / "vmstat"
