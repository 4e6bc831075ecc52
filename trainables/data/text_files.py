"""Labelled texts in files of one's own: a CSV, or a folder with one subfolder a class."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from trainables.data.download import DataError
from trainables.data.splits import SPLITS, is_hidden, refuse_splits, split_name

Rows = tuple[list[str], list[str]]
"""Texts, and the names of their classes."""


def read_csv(path: Path, text: str, label: str) -> dict[str, Rows]:
    """Read texts and the names of their classes, by split. Rows of train and val that have no label are left out."""
    if not path.is_file():
        raise DataError(
            f"data must be a CSV that exists, but got {str(path)!r}, and there is no {path.absolute()}. "
            f"Give its absolute path, or one from the current folder."
        )
    parts: dict[str, Rows] = {}
    rows = csv.DictReader(io.StringIO(_decoded(path), newline=""))
    try:
        for name, key in ((text, "text_column"), (label, "label_column")):
            _check_column(path, name, key, list(rows.fieldnames or ()))
        for row in rows:
            split = _split(path, rows.line_num, row.get("split") or "train")
            texts, names = parts.setdefault(split, ([], []))
            if (name := row[label] or "").strip():
                texts.append(row[text] or "")
                names.append(name)
            elif split == "test":
                raise DataError(
                    f"{path}:{rows.line_num}: must have a label in column {label!r}, since it is of the test split, "
                    f"but has none. Remove the rows of that split: one is drawn from train then."
                )
    except csv.Error as error:
        raise DataError(
            f"{path}:{rows.line_num + 1}: must be a row of a CSV, but got {error}. Close its quotation mark; "
            f"texts that are longer than {csv.field_size_limit():,} characters go into a folder of .txt files."
        ) from error
    return parts


def read_folder(folder: Path) -> Rows:
    """Read the .txt files below each subfolder as one class."""
    found = [(file, place.name) for place in sorted(folder.iterdir()) for file in sorted(place.rglob("*.txt"))]
    files = [(file, name) for file, name in found if not is_hidden(file, folder)]
    if not files:
        raise DataError(
            f"{folder.absolute()}: must hold one subfolder a class with .txt files in it, but none was found. "
            f"Give the folder above those of the classes."
        )
    refuse_splits(folder, {name for _, name in files})
    return [_decoded(file) for file, _ in files], [name for _, name in files]


def _check_column(path: Path, name: str, key: str, columns: list[str]) -> None:
    if name in columns:
        return
    other = next((sign for sign in ";\t|" if len(columns) == 1 and sign in columns[0]), None)
    fix = f"Separate the columns by commas, not by {other!r}." if other else f"Set fixed.{key} to one of these."
    raise DataError(f"{path}: must have a column {name!r}, but has {', '.join(columns) or 'none'}. {fix}")


def _split(path: Path, line: int, name: str) -> str:
    if (split := split_name(name)) not in SPLITS:
        raise DataError(
            f"{path}:{line}: column 'split' must hold {', '.join(SPLITS)}, but got {name!r}. Give one of these."
        )
    return split


def _decoded(path: Path) -> str:
    """Read a file as UTF-8, with or without a byte order mark."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: must be UTF-8, but got the byte {content[error.start]:#04x}. "
            f"Save it anew: iconv -f LATIN1 -t UTF-8 OLD > NEW, if that is what it is in."
        ) from error
