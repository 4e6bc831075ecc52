"""The pages' form: what is code and what is not, why a block is not run, and where links lead."""

from __future__ import annotations

import re

import pytest
from pages import PAGES, RUN, blocks, prose, slugs, text
from support import ROOT

LINKED = [*PAGES, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "benchmarks").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    found = blocks(page)
    assert len(found) * 2 == len(re.findall(r"^ *```", text(page), re.MULTILINE)), "a fence is left open"
    for block in found:
        assert block.language in (*RUN, "diff", "text"), (
            f"{block}: text is for what is not typed: output, trees of folders"
        )
        if block.language == "text":
            assert not re.search(r"^(\$ |python |pip )", block.text, re.MULTILINE), f"{block}: commands are sh"


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_is_not_run_has_its_reason(page: str) -> None:
    marks = re.findall(r"<!-- not run\b.*?-->", text(page), re.DOTALL)
    with_reason = [block for block in blocks(page) if block.reason is not None]
    assert len(marks) == len(with_reason), "a mark stands right before its block, with a reason after a colon"
    for block in with_reason:
        assert block.reason is not None
        assert len(block.reason.split()) >= 3, block


@pytest.mark.parametrize("page", LINKED)
def test_links_lead_somewhere(page: str) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = ROOT / page if not path else (ROOT / page).parent / path
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in slugs(target.resolve()), f"{page}: {link}: there is no such heading"


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose("docs/README.md"))}
    pages = {page for page in PAGES if page.startswith("docs/") and page != "docs/README.md"}
    assert not {page for page in pages if (ROOT / page).resolve() not in linked}
