"""An audit decides everything anew, and names the first difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from core.experiments import Hand, curve, experiment, play

from tuner.audit import Audit, audit
from tuner.core.events import Free, Gone, Returned
from tuner.core.records import Decision, Ended, Record, Report, Session, Suggested, Tick
from tuner.core.run import MAX_LOSSES

VERSIONS = {"optuna": "5.0.0", "numpy": "2.0", "rule asha": "1"}


def played(**parts: Any) -> list[Record]:
    """Play a run with losses, failures and early returns."""
    spec = {"budget": {"trials": 12, "epochs": 9}, "scheduler": {"kind": "asha", "promote": True}, **parts}
    return play(experiment(**spec), curve, faults=0.15).records


def of_versions(records: list[Record], **versions: str) -> list[Record]:
    """Say that other versions wrote these records."""
    return [replace(one, versions=versions) if isinstance(one, Session) else one for one in records]


def first(records: list[Record], kind: type[Record], **having: Any) -> int:
    return next(
        i for i, one in enumerate(records)
        if isinstance(one, kind) and all(getattr(one, key) == value for key, value in having.items())
    )  # fmt: skip


def begun(run: Hand) -> str:
    """Let the search begin a trial."""
    record = run.do(Free())
    assert isinstance(record, Suggested)
    return record.trial


def changed(records: list[Record], at: int, **parts: Any) -> Audit:
    return audit([*records[:at], replace(records[at], **parts), *records[at + 1 :]], VERSIONS)


def test_a_run_as_it_was_decided_has_no_difference() -> None:
    records = played()
    found = audit(records, VERSIONS)
    assert (found.difference, found.skipped, found.sessions) == ("", [], 1)
    assert found.decided > 30


def test_a_decision_a_suggestion_and_an_end_that_were_changed_are_found() -> None:
    records = played()
    at = first(records, Report)
    assert f"record {at + 1}: the ledger says t" in changed(records, at, decision=Decision(action="pause")).difference
    at = first(records, Suggested, trial="t0003")
    assert "the ledger says t0003 with" in changed(records, at, params={"x": 0.123}).difference
    at = first(records, Ended, outcome="stopped")
    assert "decided anew it is" in changed(records, at, reason="for fun").difference


def test_a_record_of_a_trial_that_was_not_suggested_is_named() -> None:
    records = played()
    at = first(records, Report, trial="t0001")
    without = [one for one in records if not (isinstance(one, Suggested) and one.trial == "t0001")]
    found = audit(without[: at + 3], VERSIONS)
    assert "t0001" in found.difference


def test_losses_are_counted_anew() -> None:
    run = Hand(experiment(budget={"trials": 2, "epochs": 9}))
    a = begun(run)
    for _ in range(MAX_LOSSES["worker"] + 1):
        run.do(Gone(trial=a, reason="node"))
    assert run.trial(a).outcome == "lost"
    assert audit(run.records, VERSIONS).difference == ""
    one_too_few = [one for i, one in enumerate(run.records) if i != len(run.records) - 2]
    assert "the ledger says Ended(time=0.0" in audit(one_too_few, VERSIONS).difference


def test_another_version_of_a_rule_is_not_compared_and_that_is_said() -> None:
    records = of_versions(played(), **{**VERSIONS, "rule asha": "0"})
    at = first(records, Ended, outcome="stopped")
    found = changed(records, at, reason="as version 0 said it")
    assert found.difference == ""
    assert found.skipped == ["session 1: the rule asha was of version 0, and is 2 here"]


def test_another_version_of_a_library_is_named_beside_a_difference() -> None:
    records = of_versions(played(), **{**VERSIONS, "numpy": "1.9"})
    assert audit(records, VERSIONS).difference == ""
    found = changed(records, first(records, Suggested, trial="t0003"), params={"x": 0.123})
    assert found.difference.endswith("(numpy was 1.9 and is 2.0)")


@pytest.mark.parametrize("elapsed", [3599.0, 3601.0])
def test_a_limit_is_held_against_the_time_that_it_names(elapsed: float) -> None:
    run = Hand(experiment(budget={"trials": 2, "epochs": 9, "hours": 1.0}))
    run.take(Tick(elapsed=elapsed))
    assert bool(audit(run.records, VERSIONS).difference) == (elapsed < 3600)


def test_a_function_that_returned_is_held_against_its_reports() -> None:
    run = Hand(experiment(budget={"trials": 2, "epochs": 9}))
    a = begun(run)
    run.report(a, 1, 0.5)
    run.do(Returned(trial=a))
    assert audit(run.records, VERSIONS).difference == ""
    found = changed(run.records, len(run.records) - 1, reason="the function returned after epoch 7")
    assert "the function returned after epoch 1" in found.difference
