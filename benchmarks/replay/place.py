"""Where cells, report and picture go: those of other curves than the kept ones get a folder of their own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[1]
RAW = HERE / "raw" / "search"
DATA = "data.sha256"
"""In the folder of the cells: which curves they were played on."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of cells, a report and its pictures."""

    cells: Path
    report: Path
    pictures: Path

    @property
    def picture(self) -> Path:
        """Give the file of the regret over the budget."""
        return self.pictures / "search.svg"

    @property
    def halves(self) -> Path:
        """Give the file of the regret beside that of Ray's guide at twice the budget."""
        return self.pictures / "search_half.svg"


KEPT = Place(RAW, HERE / "SEARCH.md", HERE.parent / "docs" / "pictures")


def choose(data: Path | None, out: Path | None) -> Place:
    """Choose the place for curves; exits where `out` holds cells of others."""
    if data is None:
        if out is not None and not out.is_dir():
            raise SystemExit(f"--out: must be a folder that is there, but got {out}.")
        return _below(out) if out else KEPT
    given = fingerprint(data)
    if out is None and given == _of(KEPT.cells):
        return KEPT
    folder = out or KEPT.cells.with_name(f"search-{given[:8]}")
    if _of(folder) != given and any(folder.glob("*.jsonl")):
        raise SystemExit(f"--out: must be a folder for these curves, but {folder} holds cells of others. Name another.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA).write_text(given + "\n")
    return _below(folder)


def fingerprint(data: Path) -> str:
    """Tell the tables below a folder from others, by their files; exits where there are none."""
    found, files = hashlib.sha256(), sorted(data.glob("*/*.npz"))
    if not files:
        raise SystemExit(f"--data: must be a folder with FAMILY/*.npz in it, but got {data}.")
    for file in files:
        found.update(f"{file.parent.name}/{file.name}\n".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def _of(folder: Path) -> str:
    file = folder / DATA
    return file.read_text().strip() if file.exists() else ""


def _below(folder: Path) -> Place:
    return Place(folder, folder / "SEARCH.md", folder)
