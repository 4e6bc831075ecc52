"""What a user sees of a live run, in terminals of all sizes and where there is none."""

from __future__ import annotations

import io
import re
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from tuner.core.records import Asked, Lost, Promoted, Record
from tuner.core.state import RunState
from tuner.outputs import live
from tuner.outputs.forecast import Forecast, epochs_left, share_done
from tuner.outputs.grid import duration
from tuner.outputs.live import Show, news
from tuner.simulate import Simulation

from .runs_made import by_hand, curve, experiment, failed, reported, shown, suggested

BEGUN = [suggested("t0000", x=0.1), suggested("t0001", x=0.2)]


def terminal(width: int = 100, height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False)


def text_of(show: Show) -> str:
    assert isinstance(show.console.file, io.StringIO)
    return show.console.file.getvalue()


def now(records: list[Record]) -> list[Record]:
    """Let records be of this session."""
    return [replace(record, time=time.time() + 1) for record in records]


def seen(*records: Record, console: Console | None = None, **parts: Any) -> tuple[Show, RunState]:
    show = Show(console or terminal())
    return show, shown(now(by_hand(experiment(**parts), *records)), show)


@pytest.fixture(autouse=True)
def no_time_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show 0:00 however busy the machine is."""
    monkeypatch.setattr(live, "duration", lambda seconds: duration(0 if seconds < 60 else seconds))


def picture(show: Show) -> list[str]:
    return [line.plain for line in show.picture()]


def test_a_phase_is_told_until_the_first_report() -> None:
    show = Show(terminal())
    assert picture(show) == ["[0:00] waiting …"]
    show.say("starting Ray", lasting=False)
    assert picture(show) == ["[0:00] starting Ray …"]
    show.say("Ray runs [here]")
    assert "Ray runs [here]" in text_of(show)
    assert picture(show) == ["[0:00] starting Ray …"]
    begun = now(by_hand(experiment(), *BEGUN))
    shown(begun, show)
    assert picture(show)[0] == "[0:00] waiting for the first report …"
    assert any(line.startswith("t0001  running") for line in picture(show))
    shown([*begun, *now([reported("t0000", 1, score=0.5)])], show)
    assert re.fullmatch(r"\[0:00\] 0 of 12 trials, 1 epochs; [\d,.]+ epochs a minute", picture(show)[0])
    assert re.fullmatch(r"[╸━]━+  0 %, about \d+:\d\d left", picture(show)[1])
    show.say("measuring the best", lasting=False)
    assert picture(show)[0] == "[0:00] measuring the best …"


def test_a_resumed_run_still_tells_that_ray_starts() -> None:
    """Records of earlier sessions are no news: neither the phase nor the failures."""
    show = Show(terminal())
    show.say("starting Ray", lasting=False)
    old = [*BEGUN, reported("t0000", 1, score=0.5), failed("t0001", "ValueError: old")]
    shown(by_hand(experiment(), *old), show)
    assert picture(show)[0] == "[0:00] starting Ray …"
    assert "old" not in text_of(show)
    assert any("t0000  running    1/9" in line for line in picture(show))


def test_the_table() -> None:
    records = [
        *BEGUN,
        reported("t0000", 1, score=0.5),
        reported("t0000", 2, score=0.25),
        reported("t0001", 1, end="stopped", reason="too bad", score=0.125),
    ]
    show, _ = seen(*records)
    assert picture(show)[2:] == [
        "best score 0.50000 (t0000, epoch 1)  x=0.1",
        "",
        "trial  state    epoch    score     best  at epoch  params",
        "t0000  running    2/9  0.25000  0.50000         1  x=0.1",
        "t0001  stopped    1/9  0.12500  0.12500         1  x=0.2",
        "",
        "last: t0001 stopped at epoch 1: too bad",
    ]


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 200])
@pytest.mark.parametrize("height", [5, 24])
def test_it_fits_the_terminal(width: int, height: int) -> None:
    metric = "validation/top-1/accuracy of the [bold]average[/bold] model"
    names = {f"parameter_{i}": i / 7 for i in range(100)}
    space = {name: {"dist": "float", "low": 0.0, "high": 100.0} for name in names}
    begun = [suggested(f"t{i:04}", **names) for i in range(40)]
    reports = [reported(f"t{i:04}", 1, **{metric: float(i)}) for i in range(30)]
    show, _ = seen(*begun, *reports, console=terminal(width, height), space=space,
                   objective={"metric": metric, "mode": "min"}, budget={"trials": 40, "epochs": 9})  # fmt: skip
    lines = show.picture()
    assert all(cell_len(line.plain) <= width for line in lines)
    assert len(lines) <= max(height, 12)
    with show:
        pass
    assert "[0:00] 0" in text_of(show)


def test_forty_columns() -> None:
    show, _ = seen(*BEGUN, reported("t0000", 1, score=0.5), console=terminal(40))
    assert re.fullmatch(r"\[0:00\] 0 of 12 trials, 1 epochs", picture(show)[0])
    assert re.fullmatch(r"[╸━]━+  0 %, about \d+:\d\d left", picture(show)[1])
    assert cell_len(picture(show)[1]) == 40
    assert picture(show)[5:7] == ["trial  state    epoch    score     best", "t0000  running    1/9  0.50000  0.50000"]


@pytest.mark.parametrize("width", [40, 80])
def test_the_bar_shows_how_much_is_done(width: int) -> None:
    trained = [reported("t0000", epoch, score=0.5) for epoch in range(1, 7)]
    show, _ = seen(*BEGUN, *trained, console=terminal(width), budget={"trials": 2, "epochs": 6})
    bar, _, words = picture(show)[1].partition("  ")
    assert words.startswith("48 %, about ")  # the half of an epoch that t0000 has left, at least, is counted too
    assert len(bar) == width - len(words) - 2
    complete = show.console.get_style("bar.complete")
    filled = sum(span.end - span.start for span in show.picture()[1].spans if span.style == complete)
    assert filled / len(bar) == pytest.approx(0.48, abs=0.06)


def test_the_share_that_is_done() -> None:
    def share(*records: Record, **parts: Any) -> float:
        return share_done(shown(by_hand(experiment(budget={"trials": 4, "epochs": 9}, **parts), *BEGUN, *records)))

    asha = {"scheduler": {"kind": "asha"}}
    one = reported("t0000", 1, score=0.5)
    assert share(one) == 1 / 36
    assert share(one, **asha) == 0.0
    assert share(one, reported("t0001", 3, end="stopped", score=0.5), **asha) == 4 / (4 + 2 + 2 * 3)
    assert share(Asked(trial=None)) == 1.0
    assert share_done(shown(Simulation(experiment(), curve, 2).run())) == 1.0


def test_states_and_counts() -> None:
    spec = {"scheduler": {"kind": "asha", "promote": True}}
    pause = reported("t0000", 1, score=0.5)
    pause = replace(pause, decision=replace(pause.decision, action="pause"))
    show, _ = seen(*BEGUN, pause, failed("t0001", "ValueError: [red]no[/red]\nsecond line"), **spec)
    lines = picture(show)
    assert "; 1 failed" in lines[0]
    assert any(line.startswith("t0000  paused") for line in lines)
    assert any(line.startswith("t0001  failed") for line in lines)
    told = "t0001 failed before its first report: ValueError: [red]no[/red] (see trials/t0001/log.txt)"
    assert text_of(show).count(told) == 1


def test_values_that_are_not_finite() -> None:
    show, _ = seen(*BEGUN, reported("t0000", 1, end="diverged", score=float("nan")))
    row = next(line for line in picture(show) if line.startswith("t0000"))
    assert row.split() == ["t0000", "diverged", "1/9", "nan", "x=0.1"]


def test_without_a_terminal_there_is_a_line_each_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PLAIN_SECONDS", 0.01)
    show = Show(Console(file=io.StringIO(), force_terminal=False, width=30, soft_wrap=True))
    with show:
        show.say("starting Ray", lasting=False)
        wait_for(lambda: "] starting Ray …\n" in text_of(show))
        shown(now(by_hand(experiment(), *BEGUN, reported("t0000", 2, score=0.5))), show)
        wait_for(lambda: "running t0000 (epoch 3), t0001 (epoch 1)\n" in text_of(show))
    assert "starting Ray\n" in text_of(show)
    assert " epochs a minute; best score 0.50000 (t0000, epoch 2); 1 %, about " in text_of(show)
    assert "\x1b" not in text_of(show)


def wait_for(what: Any) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_end_of_the_plain_lines() -> None:
    records = Simulation(experiment(), curve, 2).run()
    show = Show(Console(file=io.StringIO(), force_terminal=False))
    shown(now(records), show)
    assert "left" not in show.status()
    assert "running" not in show.status()
    assert show.status().endswith("; 100 %, finishing")


def test_many_running_trials_are_counted() -> None:
    begun = [suggested(f"t{i:04}", x=0.5) for i in range(9)]
    show, _ = seen(*begun, reported("t0000", 1, score=0.5), console=Console(file=io.StringIO(), force_terminal=False))
    assert show.status().endswith("t0003 (epoch 1) and 5 more")


def test_it_shows_while_another_thread_changes_the_run() -> None:
    spec = experiment(budget={"trials": 300, "epochs": 3})
    records, show = now(Simulation(spec, curve, 4).run()), Show(terminal())
    follower = threading.Thread(target=lambda: shown(records, show))
    with show:
        follower.start()
        while follower.is_alive():
            assert show.picture()
        follower.join()
    assert "is left out" not in text_of(show)


def test_a_reader_that_is_gone_does_not_end_the_run() -> None:
    from tuner.outputs.console import console

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    show = Show(console(Gone()))
    with show:
        show.say("one")
        show.say("two", lasting=False)
    assert show.console.quiet


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (Lost(trial="t0000", reason="node died\nlong story"), "t0000 lost its worker and is queued again: node died"),
        (Lost(trial="t0000", reason="drained", cause="machine"), "t0000 lost its worker and is queued again: drained"),
        (Lost(trial="t0000", reason="it gets more now", cause="memory"), "t0000 is queued again: it gets more now"),
        (Lost(trial="t0000", reason="in two parts", cause="foresight", parts=2), "t0000: in two parts"),
        (Promoted(trial="t0000", reason="goes on after epoch 1"), "t0000 goes on after epoch 1"),
        (Asked(trial=None), ""),
        (reported("t0000", 1, score=0.5), "t0000 epoch 1: 0.50000, the best so far"),
    ],
)
def test_news(record: Record, text: str) -> None:
    assert news(record, shown(by_hand(experiment(), *BEGUN, record))) == text


def test_what_is_left_to_train() -> None:
    def left(*records: Record, **parts: Any) -> float | None:
        return epochs_left(shown(by_hand(experiment(budget={"trials": 4, "epochs": 9}, **parts), *BEGUN, *records)))

    asha = {"scheduler": {"kind": "asha"}}
    assert left(reported("t0000", 1, score=0.5)) == 8 + 9 + 2 * 9
    assert left(reported("t0000", 1, score=0.5), **asha) is None
    ended = reported("t0000", 3, end="stopped", score=0.5)
    assert left(reported("t0000", 1, score=0.1), ended, **asha) == 3 + 2 * 3
    assert left(ended, Asked(trial=None), **asha) == 0.0
    auto = {"search": {"kind": "auto", "epochs": 12}, "scheduler": {"kind": "auto"}}
    assert left(**auto) == 12 + 9, "of all, then of the best one alone"
    assert left(reported("t0000", 2, score=0.5), **auto) == 10 + 7
    assert left(reported("t0000", 5, score=0.5), reported("t0001", 8, score=0.1), **auto) == 4
    run = shown(by_hand(experiment(), *BEGUN))
    assert Forecast().left(run) is None
