"""The page in a real Chromium: nothing is fetched, everything is drawn, on a phone and in the dark too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, chromium
from support import wait_for

from tuner.core.records import Given, Record
from tuner.outputs.page import write

from .pages_made import PBT
from .runs_made import MIXED, by_hand, experiment, failed, reported, simulated, suggested, written

pytestmark = pytest.mark.slow

SHOW = "arguments[0].scrollIntoView({block: 'center'})"
TOO_WIDE = """return [...document.querySelectorAll('section')].filter(
    one => one.getBoundingClientRect().width > document.documentElement.clientWidth).map(one => one.id)"""
DRAWN = "return arguments[0].querySelectorAll('.chart .main-svg').length"
MARKS = "return arguments[0].querySelectorAll('.chart :is(.trace, .point, .points path, .js-line)').length"
COLUMN = "return [...document.querySelectorAll('#trials tbody tr')].map(row => row.cells[arguments[0]].textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("pictures")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make the page of a run with failures, GPUs and a NaN, that of a population, and one that compares them."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [mixed(folder / "mixed"), simulated(folder / "pbt", experiment(**PBT))]
    histories = write.read(runs)
    made = {run.folder.name: write.write([run], write.target([run])) for run in histories}
    return {**made, "compared": write.write(histories, write.target(histories))}


def mixed(folder: Path) -> Path:
    """Write a run in which all happens that there is a plot for."""
    spec = experiment(
        space={name: MIXED[name] for name in ("lr", "optimizer", "momentum", "widths")}, scheduler={"kind": "asha"},
        objective={"metric": "score", "mode": "max"}, budget={"trials": 20, "epochs": 9},
    )  # fmt: skip
    records: list[Record] = []
    for i in range(14):
        name, optimizer = f"t{i:04}", ["sgd", "adam", None][i % 3]
        params: dict[str, Any] = {
            "lr": 10 ** (-i / 5),
            "optimizer": optimizer,
            "widths": [[8, 16], [16, [32]], None][i % 3],
        }
        records.append(suggested(name, **params, **({"momentum": 0.5} if optimizer == "sgd" else {})))
        records.append(Given(trial=name, cpus=1, gpus=0.5, memory=2**30))
        last = 9 if i % 4 == 0 else 3
        for epoch in range(1, last + 1):
            end: Any = ("finished" if last == 9 else "stopped") if epoch == last and i % 5 else None
            records.append(
                reported(name, epoch, end=end, reason="it was <not> & good", score=1 - (i + 1) / (i + epoch))
            )
        if i % 5 == 0:
            records.append(failed(name, "ValueError: <b>no</b>", "Traceback\nValueError: <b>no</b>"))
    records += [suggested("t0014", lr=0.1, optimizer=None, widths=None), reported("t0014", 1, score=math.nan)]
    return written(folder, by_hand(spec, *records))


@pytest.fixture(scope="module", params=["pbt", "compared", "mixed"])
def opened(request: pytest.FixtureRequest, browser: Browser, pages: dict[str, Path]) -> tuple[str, Browser]:
    """Open a page and scroll to each figure until it is drawn."""
    browser.show_as(1280)
    browser.requested(), browser.complaints()
    browser.driver.get(f"file://{pages[request.param]}")
    for figure in figures(browser):
        browser.run(SHOW, figure)
        wait_for(lambda figure=figure: figure.get_attribute("data-drawn"), 60)
    return request.param, browser


def figures(browser: Browser) -> list[Any]:
    return list(browser.driver.find_elements("css selector", "figure.plot"))


def test_all_is_drawn_and_nothing_is_fetched(opened: tuple[str, Browser], pages: dict[str, Path]) -> None:
    name, browser = opened
    assert len(figures(browser)) >= {"mixed": 15, "pbt": 9, "compared": 2}[name]
    for figure in figures(browser):
        assert browser.run(DRAWN, figure) > 0
        assert browser.run(MARKS, figure) > 0, figure.text
    assert browser.requested() == {f"file://{pages[name]}"}
    assert browser.complaints() == []


def test_plots_follow_the_page_into_the_dark_and_onto_a_phone(opened: tuple[str, Browser]) -> None:
    _, browser = opened
    ink = "return getComputedStyle(document.querySelector('.xtick text')).fill"
    looks = [(390, "dark", "18, 22, 28", "228, 232, 238"), (1280, "light", "246, 247, 249", "28, 36, 48")]
    for width, scheme, page, text in looks:
        browser.show_as(width, scheme)
        assert browser.run("return getComputedStyle(document.body).backgroundColor") == f"rgb({page})"
        wait_for(lambda text=text: browser.run(ink) == f"rgb({text})", 60)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(TOO_WIDE) == []
    assert browser.complaints() == []


@pytest.mark.parametrize("opened", ["mixed"], indirect=True)
def test_a_click_sorts_and_what_has_no_value_stays_last(opened: tuple[str, Browser]) -> None:
    _, browser = opened
    head = browser.find("//section[@id='trials']//th[.='lr']")
    head.click()
    values = [float(one) for one in browser.run(COLUMN, 5)]
    assert values == sorted(values)
    head.click()
    assert [float(one) for one in browser.run(COLUMN, 5)] == values[::-1]
    browser.find("//section[@id='trials']//th[.='score']").click()
    scores = browser.run(COLUMN, 2)
    assert scores[-1] == ""
    assert [float(one) for one in scores[:-1]] == sorted(float(one) for one in scores[:-1])
    # What users wrote is shown as they wrote it.
    browser.find("//section[@id='failures']//summary").click()
    assert "<b>no</b>" in browser.until("ValueError: <b>no</b>")
    assert browser.run("return document.querySelectorAll('#failures b').length") == 0
