"""Where a run's ledger and checkpoints lie: a folder, or a URL (`url`, `lease`, `segments`, which need fsspec)."""

from tuner.storage.folder import BEST, Log, append_whole, delete_folder, is_full, is_url, write_whole

__all__ = ["BEST", "Log", "append_whole", "delete_folder", "is_full", "is_url", "write_whole"]
