"""Tables fit any width, and take nothing that users wrote for markup."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tuner.outputs.console import console
from tuner.outputs.grid import Column, clean, cut, cut_front, duration, grid, params_text

COLUMNS = [Column("trial"), Column("state", drop=1), Column("value", right=True), Column("params", drop=2, least=6)]
ROWS = [(["t0000", "finished", "0.5", "lr=0.1  width=[8, 16]"], "green"), (["t0001", "running", "", ""], "")]


def plain(width: int) -> list[str]:
    return [line.plain for line in grid(COLUMNS, ROWS, width)]


def test_what_matters_less_gives_way() -> None:
    assert plain(80) == [
        "trial  state     value  params",
        "t0000  finished    0.5  lr=0.1  width=[8, 16]",
        "t0001  running",
    ]
    assert plain(36)[1] == "t0000  finished    0.5  lr=0.1  wid…"
    assert plain(28) == ["trial  state     value", "t0000  finished    0.5", "t0001  running"]
    assert plain(20) == ["trial  value", "t0000    0.5", "t0001"]
    assert plain(8) == ["trial  …", "t0000  …", "t0001"]


@given(st.lists(st.lists(st.text(max_size=30), min_size=4, max_size=4), max_size=5), st.integers(1, 120))
def test_no_line_is_wider_than_asked(rows: list[list[str]], width: int) -> None:
    for line in grid(COLUMNS, [(row, "") for row in rows], width):
        assert cell_len(line.plain) <= width
        assert line.plain.isprintable()


def test_words() -> None:
    assert cut("accuracy", 8) == "accuracy"
    assert cut("accuracy", 5) == "accu…"
    assert cut_front("val/accuracy/top1", 10) == "…racy/top1"
    assert clean("a\x1b[31m\nb") == "a [31m b"
    params = {"lr": 1e-5, "b": None, "c": True, "d": [8, 16], "e": "x"}
    assert params_text(params) == "lr=1e-05  b=null  c=true  d=[8, 16]  e=x"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (9.9, "0:09"), (61, "1:01"), (3600, "1:00:00"), (100_000, "27:46:40"), (-1, "0:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_markup_is_not_interpreted() -> None:
    stream = io.StringIO()
    shown = console(stream)
    for line in grid([Column("[bold]x")], [(["[/red] :smile: [link=y]"], "")], 40):
        shown.print(line)
    shown.print("[bold]also here[/bold]")
    assert stream.getvalue() == "[bold]x\n[/red] :smile: [link=y]\n[bold]also here[/bold]\n"
