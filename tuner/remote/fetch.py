"""The results of a run on a cluster, brought here."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.errors import ClusterError, UserError
from tuner.ledger import NAME, bring
from tuner.remote.follow import follow, printer
from tuner.remote.jobs import Jobs, unreachable
from tuner.remote.pack import PAGE, SAID
from tuner.storage import Log

PACK = "tuner.remote.pack"


def fetch(jobs: Jobs, run: str, into: Path) -> Path:
    """Bring a run's ledger and results to `into/NAME`, without checkpoints; returns that folder.

    A ledger there that says more, since the run was gone on with here, is left as it is, and so are its results.
    """
    told = _packed(jobs, run)
    target = into / Path(told["folder"]).name
    into.mkdir(parents=True, exist_ok=True)
    with _fetched(jobs, told, into) as fetched:
        if target.exists() and _header(target) != _header(fetched):
            raise UserError(f"{target}: must be free, or hold this run, but holds another one. Move it away.")
        there = (fetched / NAME).read_bytes()
        if _says_more(target / NAME, there):
            return target
        if (target / NAME).exists():
            Log(target / NAME).close()  # raises Locked where a driver writes to it
        if aside := bring(target, there, run):
            print(f"{target}: went on here too; its ledger is kept in {aside.name}", file=sys.stderr)
        (fetched / NAME).unlink()
        for name in ("best", "tensorboard"):  # what was fetched earlier may be of another best, or of another driver
            shutil.rmtree(target / name, ignore_errors=True)
        shutil.copytree(fetched, target, dirs_exist_ok=True)
    return target


def fetch_page(jobs: Jobs, runs: Sequence[str], into: Path) -> tuple[int, Path | None]:
    """Have the head print what runs found and make their page, and bring that into a folder.

    Returns the exit code, and where the page is; it is None where the head could not make it, and said why.
    """
    heard, show = list[str](), printer(json=False, hidden=SAID)

    def write(text: str) -> None:
        heard.append(text)
        show(text)

    if code := follow(jobs, jobs.submit([PACK, PAGE, *runs], f"report {' '.join(runs)}", None, {}), write):
        return code, None
    with _fetched(jobs, _told(heard, runs[0]), into) as fetched:
        return code, fetched.replace(into / fetched.name)


@contextmanager
def _fetched(jobs: Jobs, told: dict[str, Any], into: Path) -> Iterator[Path]:
    """Download what was packed and unpack it beside where it belongs, for as long as this block lasts."""
    with tempfile.TemporaryDirectory(dir=into, prefix=".fetched-") as scratch:
        archive = Path(scratch) / "packed.tar.gz"
        _download(jobs, told, archive)
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        yield Path(scratch) / Path(told["folder"]).name


def _packed(jobs: Jobs, run: str) -> dict[str, Any]:
    """Have the head pack the results, and read where they are."""
    heard: list[str] = []
    follow(jobs, jobs.submit([PACK, run], f"fetch {run}", None, {}), heard.append)
    return _told(heard, run)


def _told(heard: Sequence[str], run: str) -> dict[str, Any]:
    """Read out of what a job said where the results are."""
    said = "".join(heard).splitlines()
    line = next((line for line in said if line.startswith(SAID)), None)
    if line is None:
        raise ClusterError(f"the results of {run} could not be packed:\n" + "\n".join(said))
    found: dict[str, Any] = json.loads(line.removeprefix(SAID))
    return found


def _download(jobs: Jobs, told: dict[str, Any], target: Path) -> None:
    where = f"node_id={told['node']}&filename={told['file']}&lines=-1"
    try:
        response = jobs.client._do_request("GET", f"/api/v0/logs/file?{where}", stream=True)
    except Exception as error:  # Ray raises its own, those of requests, and RuntimeError
        raise unreachable(jobs.address, error) from None
    with target.open("wb") as file:
        for block in response.iter_content(1 << 20):
            file.write(block)
    if response.status_code != 200 or target.stat().st_size != told["size"]:
        raise unreachable(jobs.address, RuntimeError(f"HTTP {response.status_code}, {target.stat().st_size} bytes"))


def _says_more(ledger: Path, there: bytes) -> bool:
    here = ledger.read_bytes() if ledger.exists() else b""
    return len(here) > len(there) and here.startswith(there)


def _header(run: Path) -> bytes:
    with (run / NAME).open("rb") as file:
        return file.readline()
