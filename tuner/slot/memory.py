"""Out of memory, as it shows itself: an exception of torch's or Python's, or a kill by the kernel."""

from __future__ import annotations

from pathlib import Path

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
    """Count the processes that this machine's kernel has killed for lack of memory (Linux; else 0)."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
