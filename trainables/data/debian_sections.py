"""A real text task that fits into a repository: in which section of Debian's archive is a package, by its one line?

    python -m trainables.data.debian_sections > trainables/data/debian_sections.csv

The labels are those of the people who keep the archive. `apt-cache dumpavail` has the lines, on every Debian machine.
"""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

FILE = Path(__file__).with_suffix(".csv")
"""The set as it was prepared on Debian 12 (bookworm): other releases have other packages."""
SECTIONS = (
    "admin", "devel", "editors", "games", "graphics", "mail", "math", "net", "science", "sound", "text", "web",
)  # fmt: skip
"""Sections that are about something; those of a language or a form (python, libs, doc) would give themselves away."""
EACH = 300
"""The most packages of one section, so that classes are about as frequent."""


def choose(packages: Iterable[tuple[str, str, str, str]]) -> list[tuple[str, str]]:
    """Choose (text, label) of packages (name, source, section, line): one of each source, and no line twice.

    Packages of one source have much the same line; in two splits they would give each other away.
    """
    chosen: dict[str, list[tuple[str, str]]] = {section: [] for section in SECTIONS}
    sources, lines = set(), set()
    for _, source, section, line in sorted(packages, key=lambda package: _draw(package[0])):
        key = re.sub(r"\W+", " ", line).strip().lower()
        if section not in chosen or source in sources or key in lines or len(chosen[section]) == EACH:
            continue
        sources.add(source)
        lines.add(key)
        chosen[section].append((line, section))
    return [row for section in SECTIONS for row in chosen[section]]


def read(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Read name, source, section and line of each package out of what `apt-cache dumpavail` prints."""
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Source|Section|Description(?:-en)?): (.+)$", stanza, re.MULTILINE))
        line = fields.get("Description") or fields.get("Description-en")
        if line and "Section" in fields:
            source = fields.get("Source", fields["Package"]).split()[0]
            yield fields["Package"], source, fields["Section"], line.strip()


def _draw(name: str) -> str:
    """Give a package its place in an order that looks drawn by lot, and is the same everywhere."""
    return hashlib.sha256(name.encode()).hexdigest()


def main() -> None:
    """Print the set as CSV."""
    dump = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("text", "label"))
    rows.writerows(choose(read(dump)))


if __name__ == "__main__":
    main()
