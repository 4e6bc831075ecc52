"""The pages for users: README.md and docs/, cut into their blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from support import ROOT

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- ((?:(?!-->).)*) -->\s*\Z", re.DOTALL)
NOT_RUN = re.compile(r"not run: (.*)", re.DOTALL)
EXIT = re.compile(r"exit (\d+)")
PRINTED = re.compile(r"as printed(: the last line)?")
FILE = re.compile(r"# ([\w/]+\.(?:py|yaml))\b")
RUN = ("sh", "yaml", "python")
"""The languages of what a reader may type."""


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None
    """Why the tests do not run it; None where they do."""
    code: int
    """The exit code of its commands."""
    printed: str
    """`whole` or `last` where it is what the commands before it print, or the last line of that; else nothing."""

    @property
    def file(self) -> str | None:
        """The file that it shows: its first line is a comment with the name."""
        named = FILE.match(self.text)
        return named[1] if named else None

    @property
    def lines(self) -> list[str]:
        """Its commands, those that go over several lines put together."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text(page: str) -> str:
    """Read a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """Cut a page into its blocks, in their order."""
    whole, found = text(page), []
    for fence in FENCE.finditer(whole):
        before = whole[: fence.start()]
        comment = COMMENT.search(before)
        mark, ends, printed = (one.fullmatch(comment[1] if comment else "") for one in (NOT_RUN, EXIT, PRINTED))
        inside = re.sub(rf"^{fence[1]}", "", fence[3], flags=re.MULTILINE)
        found.append(
            Block(
                page=page,
                line=before.count("\n") + 1,
                language=fence[2],
                text=inside,
                reason=" ".join(mark[1].split()) if mark else None,
                code=int(ends[1]) if ends else 0,
                printed=("last" if printed[1] else "whole") if printed else "",
            )
        )
    return found


def run(page: str) -> list[Block]:
    """List the blocks of a page that the tests run, and the outputs that they hold them to."""
    return [block for block in blocks(page) if (block.language in RUN and block.reason is None) or block.printed]


def prose(page: str) -> str:
    """Read a page without its blocks and comments."""
    return re.sub(r"<!--.*?-->", "", FENCE.sub("", text(page)), flags=re.DOTALL)


def slugs(page: Path) -> set[str]:
    """Name the anchors of a page's headings, as GitHub does."""
    found: dict[str, int] = {}
    anchors = set()
    for title in re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title.strip()).lower()
        slug = re.sub(r"[^\w\- ]", "", bare).replace(" ", "-")
        anchors.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return anchors
