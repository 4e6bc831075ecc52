"""The driver dies before, in the middle of and after every record: what goes on decides as if it had never died."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tuner.audit import audit
from tuner.core.lines import from_json
from tuner.core.records import Record, Session
from tuner.errors import UserError
from tuner.ledger import NAME, Ledger, read
from tuner.spec.experiment import Experiment
from tuner.versions import versions

from .experiments import PLAIN, Hand, continued, curve, experiment, lines, play, play_on, rebuilt, simulate

pytestmark = pytest.mark.slow

LEAST = 150
NEAR = 5
"""So many records after each crash are compared; after every twentieth crash all are."""
TPE, CMAES = {"kind": "tpe", "startup": 4}, {"kind": "cmaes"}
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any], int, int]] = {
    "stopping, tpe": ({"kind": "asha", "reduction_factor": 2}, TPE, 40, 9),
    "stopping, cmaes": ({"kind": "asha", "reduction_factor": 2}, CMAES, 55, 9),
    "promoting, tpe": ({"kind": "asha", "reduction_factor": 2, "promote": True}, TPE, 30, 9),
    "hyperband, tpe": ({"kind": "hyperband"}, TPE, 26, 9),
    "median, tpe": ({"kind": "median", "min_trials": 3}, TPE, 27, 9),
    "auto": ({"kind": "auto"}, {"kind": "auto"}, 40, 9),
    "pbt, tpe": ({"kind": "pbt", "interval_epochs": 2}, TPE, 7, 16),
    "pbt, cmaes": ({"kind": "pbt", "interval_epochs": 2}, CMAES, 7, 16),
}


def spec_of(name: str) -> Experiment:
    scheduler, search, trials, epochs = RUNS[name]
    budget = {"trials": trials, "epochs": epochs}
    return experiment(scheduler=scheduler, search=search, space=PLAIN, budget=budget, seed=5)


def go_on(spec: Experiment, records: Sequence[Record], seed: int, slots: int = 3) -> list[Record]:
    """Go on from records with arrivals of its own."""
    hand = Hand(spec, slots)
    hand.core, hand.records = rebuilt(spec, records), list(records)
    hand.take(Session(attempt=hand.core.run.attempt + 1, host="h", pid=2, slots=slots, versions={}))
    return play_on(hand, curve, seed, faults=0.08).records


@pytest.mark.parametrize("name", RUNS)
def test_after_a_crash_at_any_record_one_slot_writes_the_ledger_it_would_have(name: str) -> None:
    """A crash before or in the middle of a record leaves those before it: see the ledger's own test below."""
    spec = spec_of(name)
    records = simulate(spec, curve)
    whole = lines(records)
    assert len(whole) >= LEAST
    dead = rebuilt(spec, records[:2])
    for cut in range(2, len(records)):
        count = None if cut % 20 == 0 else cut + NEAR
        again = continued(copy.deepcopy(dead), curve, records[:cut], count)
        assert lines(again[cut:]) == whole[cut:count], f"cut after {cut} records"
        dead.apply(records[cut])


@pytest.mark.parametrize("name", RUNS)
def test_after_a_crash_with_other_arrivals_it_decides_what_a_core_that_never_died_does(name: str) -> None:
    spec = spec_of(name)
    first = play(spec, curve, slots=3, seed=1, faults=0.08).records
    assert len(first) >= LEAST
    for cut in range(2, len(first), len(first) // 8):
        second = go_on(spec, first[:cut], seed=cut)
        again = go_on(spec, second[: (cut + len(second)) // 2], seed=cut + 1)
        found = audit(again, versions())
        assert found.difference == ""
        assert found.decided > 0.8 * len(again)
        assert found.sessions == 3


def test_an_audit_names_the_first_difference() -> None:
    spec = spec_of("stopping, tpe")
    records = simulate(spec, curve)
    assert audit(records, versions()).difference == ""
    text = lines(records)
    place = next(i for i, line in enumerate(text) if '"outcome":"stopped"' in line)
    other = text[place].replace('"action":"end","outcome":"stopped"', '"action":"go","outcome":null')
    changed = [*records[:place], from_json(other)]
    found = audit(changed, versions())
    assert found.difference.startswith(f"record {place + 1}: the ledger says ")
    assert ": go" in found.difference
    assert ": end" in found.difference


def test_what_another_version_decided_is_not_compared_and_that_is_told() -> None:
    spec = spec_of("stopping, tpe")
    records = simulate(spec, curve)
    records[1] = Session(attempt=1, host="h", pid=1, slots=1, versions={"optuna": "4.0", "rule asha": "0"})
    found = audit(records, versions())
    assert found.difference == ""
    assert found.decided == 0
    assert [what.partition(":")[0] for what in found.skipped] == ["session 1", "session 1"]


def test_every_place_where_a_write_can_be_torn(tmp_path: Path) -> None:
    """Before a record, in the middle of it, and after it: the next driver sees all whole records, and goes on."""
    records = simulate(spec_of("stopping, tpe"), curve)
    with Ledger(tmp_path) as ledger:
        for record in records:
            ledger.append(record)
    whole = (tmp_path / NAME).read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    assert len(ends) == len(records)
    for number, end in enumerate(ends[:-1], 1):
        torn = (1, (ends[number] - end) // 2, ends[number] - end - 1, 0)[number % 4]
        (tmp_path / NAME).write_bytes(whole[: end + torn])
        assert len(read(tmp_path)) == number
        with Ledger(tmp_path) as ledger:
            assert len(ledger.records) == number
            ledger.append(records[number])
        assert len(read(tmp_path)) == number + 1


def test_no_flipped_bit_is_taken_for_a_record(tmp_path: Path) -> None:
    records = simulate(spec_of("stopping, tpe"), curve)[-3:-1]
    with Ledger(tmp_path) as ledger:
        for record in records:
            ledger.append(record)
    whole = (tmp_path / NAME).read_bytes()
    known = read(tmp_path)
    for bit in range(0, 8 * len(whole), 3):  # of each byte two or three, and each place of a byte as often
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / NAME).write_bytes(flipped)
        is_last_end = bit // 8 == len(whole) - 1
        with nullcontext() if is_last_end else pytest.raises(UserError, match=f"{NAME}: byte |must begin"):
            assert read(tmp_path) == known[:-1], "the last line end alone can be lost without notice"
