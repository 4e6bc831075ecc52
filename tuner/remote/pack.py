"""Runs on the head, as a job: puts a run's results where the dashboard hands out files, and says where."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tuner.errors import ClusterError, TunerError, remedy

FOLDER = "tuner-results"
"""Below the folder of Ray's logs, which the dashboard shows."""
SAID = "packed: "
OLD_SECONDS = 3600.0
PAGE = "--page"
OF_THE_RUN = {"ray", "lock", "reserve", "asked", ".probe", "stopping"}
OF_A_TRIAL = {"checkpoints", "lock", "stopping"}
"""What a run, and a trial, keeps for its own work at the top of its folder; deeper these names are the user's."""


def pack(run: Path, target: Path) -> None:
    """Pack a run without its checkpoints; the model of its best is in `best/`."""
    with tarfile.open(target, "w:gz") as archive:
        archive.add(run, arcname=run.name, filter=_wanted)


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (entry.isreg() or entry.isdir() or entry.islnk()):
        return None  # what a link or a pipe of the user's leads to is not here; unpacking would refuse it
    parts = Path(entry.name).parts
    of_a_trial = parts[3:4] if parts[1:2] == ("trials",) else ()
    return None if OF_THE_RUN & set(parts[1:2]) or OF_A_TRIAL & set(of_a_trial) else entry


def pack_page(runs: Sequence[str], target: Path) -> str:
    """Print what a run found, or several, make the page and pack it; returns its name."""
    from tuner.outputs.console import console
    from tuner.outputs.page import write
    from tuner.outputs.report import report
    from tuner.runs import find_run

    histories = write.read([find_run(run) for run in runs])
    for history in histories:
        report(history.run, console(sys.stdout))
    sys.stdout.flush()
    name = write.target(histories, is_copy=True).name
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(target, "w:gz") as archive:
        archive.add(write.write(histories, Path(scratch) / name), arcname=name)
    return name


def main(words: Sequence[str]) -> None:
    """Pack a run, or with --page the page of runs, and print what the other side needs to get it."""
    import ray

    from tuner.runs import find_run

    ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    place = Path(ray._private.worker._global_node.get_logs_dir_path()) / FOLDER
    place.mkdir(exist_ok=True)
    for old in place.glob("*.tar.gz"):
        with contextlib.suppress(OSError):
            if time.time() > old.stat().st_mtime + OLD_SECONDS:
                old.unlink()
    target = place / f"{time.time_ns()}.tar.gz"
    if words[0] == PAGE:
        folder = Path(pack_page(words[1:], target))
    else:
        folder = find_run(words[0])
        pack(folder, target)
    where = {"node": ray.get_runtime_context().get_node_id(), "file": f"{FOLDER}/{target.name}"}
    print(f"{SAID}{json.dumps({**where, 'folder': str(folder.resolve()), 'size': target.stat().st_size})}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TunerError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"the results could not be packed: {error}. {remedy(error)}", file=sys.stderr)
        sys.exit(ClusterError.exit_code)
