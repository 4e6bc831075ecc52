"""Every record comes back from its line as it was: floats bit for bit, lists as lists, and no NaN in the JSON."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.core.lines import from_json, to_json
from tuner.core.records import (
    KINDS,
    OUTCOMES,
    Asked,
    Cause,
    Clone,
    Decision,
    Disk,
    Ended,
    Given,
    Header,
    Lost,
    Machines,
    Mark,
    Outcome,
    Probed,
    Promoted,
    Record,
    Repeated,
    Report,
    Session,
    Suggested,
    Tick,
    trial_id,
    trial_number,
)

floats = st.floats(width=64)
names = st.text(max_size=8)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=5,
)
mappings = st.dictionaries(names.filter(lambda name: name != "$float"), values, max_size=3)
counts = st.integers(min_value=0, max_value=2**62)
choices = st.dictionaries(names, counts, max_size=2)
outcomes = st.sampled_from(OUTCOMES)
marks = st.builds(
    Mark, bracket=counts, epoch=counts, value=floats, cutoff=st.none() | floats, rank=counts, of=counts
)  # fmt: skip
clones = st.builds(Clone, donor=names, epoch=counts, checkpoint=names, params=mappings, choices=choices)
decisions = st.builds(
    Decision,
    action=st.sampled_from(["go", "pause", "clone", "end"]),
    outcome=st.none() | outcomes,
    reason=names,
    mark=st.none() | marks,
    clone=st.none() | clones,
    target=st.booleans(),
)
BUILDERS: dict[type[Record], st.SearchStrategy[Record]] = {
    Header: st.builds(Header, time=floats, schema=counts, name=names, spec=mappings, folder=names),
    Session: st.builds(
        Session, time=floats, attempt=counts, host=names, pid=counts, slots=counts,
        versions=st.dictionaries(names, names, max_size=2),
    ),
    Machines: st.builds(Machines, time=floats, machines=counts, slots=counts, card=counts),
    Suggested: st.builds(
        Suggested, time=floats, trial=names, params=mappings, choices=choices, seen=counts, attributes=mappings
    ),
    Repeated: st.builds(Repeated, time=floats, trial=names, of=names, seed=counts, params=mappings, choices=choices),
    Report: st.builds(
        Report, time=floats, trial=names, generation=counts, epoch=counts,
        metrics=st.dictionaries(names, floats, max_size=4), checkpoint=st.none() | names, decision=decisions,
        seconds=floats, memory=counts, node=names, worker=names,
    ),
    Promoted: st.builds(Promoted, time=floats, trial=names, reason=names),
    Given: st.builds(Given, time=floats, trial=names, cpus=counts, gpus=floats, memory=counts, probe=st.booleans()),
    Probed: st.builds(Probed, time=floats, trial=names, gpu_memory=counts, context=counts, step=floats),
    Lost: st.builds(
        Lost, time=floats, trial=names, reason=names, cause=st.sampled_from(get_args(Cause)), silent=floats,
        parts=counts, least_gpus=floats, ran_out=counts,
    ),
    Ended: st.builds(Ended, time=floats, trial=names, outcome=outcomes, reason=names, error=names, ran_out=counts),
    Asked: st.builds(
        Asked, time=floats, trial=st.none() | names, budget=mappings, settings=st.dictionaries(names, mappings)
    ),
    Tick: st.builds(Tick, time=floats, elapsed=floats),
    Disk: st.builds(Disk, time=floats, full=st.booleans(), free=counts),
}  # fmt: skip


def bits(value: Any) -> Any:
    """Turn a value into one whose equality means the same types and the same bits; all NaNs are one."""
    if is_dataclass(value):
        return (type(value), *((f.name, bits(getattr(value, f.name))) for f in fields(value)))
    if isinstance(value, dict):
        return ("dict", *((key, bits(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", *map(bits, value))
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    return (type(value), value)


def refuse(token: str) -> None:
    raise AssertionError(f"{token} is no JSON")


def test_every_kind_of_record_is_tried() -> None:
    assert set(BUILDERS) == set(KINDS.values())
    assert get_args(Outcome) == OUTCOMES


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_comes_back_bit_for_bit_from_one_line_of_strict_json(kind: str) -> None:
    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(BUILDERS[KINDS[kind]])
    def check(record: Record) -> None:
        line = to_json(record)
        assert "\n" not in line
        assert line.isascii()
        assert json.loads(line, parse_constant=refuse)["kind"] == kind
        assert bits(from_json(line)) == bits(record)

    check()


@pytest.mark.parametrize(
    "value", [0.1, -0.0, 5e-324, 1.7976931348623157e308, 2**53 + 1.0, math.inf, -math.inf, math.nan], ids=str
)
def test_awkward_floats_in_every_place(value: float) -> None:
    record = Report(
        trial="t0000", generation=0, epoch=1, metrics={"loss": value}, checkpoint=None, seconds=value,
        decision=Decision(
            action="clone",
            mark=Mark(bracket=0, epoch=1, value=value, cutoff=value, rank=1, of=2),
            clone=Clone(donor="t1", epoch=1, checkpoint="c", params={"lr": [value, None]}, choices={}),
        ),
    )  # fmt: skip
    assert bits(from_json(to_json(record))) == bits(record)


def test_lists_null_and_whole_numbers_in_choices_keep_their_type() -> None:
    params = {"widths": [8, [16, None]], "norm": None, "depth": 3, "lr": 3.0, "flag": True}
    record = Suggested(trial="t0000", params=params, choices={"widths": 1, "norm": 0}, seen=2)
    assert bits(from_json(to_json(record))) == bits(record)


def test_numpy_numbers_are_spelled_as_numbers() -> None:
    record = Tick(elapsed=np.float64("inf"))
    assert from_json(to_json(record)) == Tick(elapsed=math.inf)


def test_a_metric_named_like_the_spelling_of_infinity() -> None:
    record = Report(
        trial="t", generation=0, epoch=1, metrics={"$float": 1.5}, checkpoint=None, seconds=0.0,
        decision=Decision(action="go"),
    )  # fmt: skip
    assert from_json(to_json(record)) == record


@pytest.mark.parametrize(
    "text",
    ["", "3", "[]", "{}", "null", '{"kind":"nothing"}', '{"kind":["tick"]}', '{"kind":"tick","elapsed":1,"more":1}'],
)
def test_what_is_no_record_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own errors count too
        from_json(text)


def test_trial_names_and_numbers_agree_beyond_four_digits() -> None:
    assert [trial_id(0), trial_id(12345)] == ["t0000", "t12345"]
    assert all(trial_number(trial_id(n)) == n for n in (0, 7, 9999, 10000, 123456))
