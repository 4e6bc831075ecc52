"""The benchmark of scaling: its arithmetic and its report; `tests/ray` runs it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import curve, scaling

MACHINE = {"date": "today", "hardware": "2 cores"}


def found(live: int, pace: float) -> dict[str, Any]:
    words, reports = min(live, 100), live / pace
    share = 0.01 + 0.001 * words + 1e-6 * words * live + 0.0005 * reports
    return {
        "live": live, "pace": pace, "reports_a_second": reports, "cpu_a_report": share / reports, "share": share,
        "share_main_thread": share / 2, "cores_busy": 0.5, "delay": 0.5, "delay_95": 1.0,
        "driver_memory": 200.0 + live, "memory": {"worker": 116.0, "zygote": 7.0, "trial": 7.0},
    }  # fmt: skip


def turn(scale: float) -> list[dict[str, Any]]:
    return [
        {"nodes": nodes, "rate": scale * nodes, "rate_of_workers": scale * nodes * 1.1, "first_report": 20.0,
         "cpu_a_report": 0.002}
        for nodes in (1, 2, 4)
    ]  # fmt: skip


def test_the_fit_finds_what_a_driver_costs() -> None:
    ones = [found(live, pace) for live in (25, 50, 100, 200) for pace in (1.0, 5.0)]
    assert curve.fit(ones, "share") == pytest.approx([0.01, 0.001, 1e-6, 0.0005], rel=1e-3)


def test_the_report_holds_speed_up_and_the_estimate_for_a_thousand() -> None:
    ones = [found(live, pace) for live in (25, 50, 100, 200) for pace in (1.0, 5.0)]
    data = {
        "nodes": {"machine": MACHINE, "command": ["a", "b"], "rounds": [turn(4.0), turn(2.0), turn(3.0)]},
        "live": {"machine": MACHINE, "command": ["a", "c"], "found": ones},
    }
    page = curve.page(data)
    assert "| 4 | 16.00, 8.00, 12.00 | 12.00 | 4.00, 4.00, 4.00 | 4.00 | 4.00 | 20.0 | 2.00 |" in page
    assert "| 200 | 5 | 40.0 | 0.150 |" in page
    assert "| 60 | 5 | 200 | 17 | 0.42 | 0.21 |" in page
    assert "| 60 | 1 | 1000 | 17 | 2.02 | 1.01 |" in page
    assert "by a straight line through the same runs: 1200 MiB" in page


def test_speed_counts_from_each_worker_s_first_report() -> None:
    told = [("a", 1.0), ("b", 2.0), ("a", 3.0), ("b", 4.0), ("a", 5.0), ("b", 6.0)]
    found = scaling.speeds([{"worker": worker, "metrics": {"reported": when}} for worker, when in told])
    assert found == {"reports": 6, "seconds": 5.0, "rate": 0.8, "rate_of_workers": 1.0}


def test_no_more_trials_are_added_than_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        total, available = 1000 * scaling.MIB, 650 * scaling.MIB

    monkeypatch.setattr(scaling.psutil, "virtual_memory", Memory)
    assert scaling.holds({"worker": 80.0, "zygote": 10.0, "trial": 10.0}) == 4
