"""A ledger in pieces: what hangs together is read, whatever else lies there."""

from __future__ import annotations

import random

import pytest

from tuner.storage import segments
from tuner.storage.segments import Segments
from tuner.storage.url import Objects


def driver(objects: Objects, term: int, data: bytes = b"") -> Segments:
    made = Segments(objects, term)
    made.begin(data)
    return made


def names(objects: Objects) -> list[str]:
    return [name.removeprefix("ledger/0000000000") for name in objects.list("ledger")]


def test_pieces_are_read_in_order(objects: Objects) -> None:
    assert Segments(objects).read() == b""
    one = driver(objects, 1, b"header\n")
    assert one.append(b"a\n")
    assert one.append(b"b\nc\n")
    assert Segments(objects).read() == b"header\na\nb\nc\n"
    assert one.size == 13


def test_a_gap_and_a_line_that_is_not_whole_end_it(memory: Objects) -> None:
    one = driver(memory, 1, b"header\n")
    one.append(b"a\nb")
    assert Segments(memory).read() == b"header\na\n"
    one.append(b"b\n")
    memory.delete(["ledger/000000000000007-000001"])
    assert Segments(memory).read() == b"header\n"


def test_what_a_driver_puts_that_has_lost_its_lease_is_passed_over(objects: Objects) -> None:
    old = driver(objects, 1, b"header\n")
    old.append(b"known\n")
    new = driver(objects, 2, Segments(objects).read())
    assert old.append(b"late 1\n"), "it does not know yet"
    assert new.append(b"new\n")
    assert old.append(b"late 2\n")
    assert Segments(objects).read() == b"header\nknown\nnew\n"
    third = driver(objects, 3, Segments(objects).read())
    assert old.append(b"late 3\n")
    assert third.append(b"third\n")
    assert Segments(objects).read() == b"header\nknown\nnew\nthird\n"


def test_two_drivers_under_one_lease_never_write_over_each_other(objects: Objects) -> None:
    one, two = driver(objects, 1, b"header\n"), Segments(objects, 1)
    two.size = one.size
    assert one.append(b"one\n")
    assert not two.append(b"two\n")
    assert not two.append(b"on\n"), "it is not a beginning of ours either"
    assert Segments(objects).read() == b"header\none\n"


def test_a_piece_whose_answer_got_lost_is_gone_on_from(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    one = driver(objects, 1, b"header\n")
    with monkeypatch.context() as patch:
        write = objects._write
        patch.setattr(objects, "_write", lambda *args: (write(*args), away())[1])
        patch.setattr(objects, "get", lambda name: away())
        with pytest.raises(OSError, match="away"):
            one.append(b"a\n")
    assert one.append(b"a\nb\n"), "it is our own, and the ledger has grown since"
    assert Segments(objects).read() == b"header\na\nb\n"
    assert one.size == 11


def away() -> bool:
    raise TimeoutError("away")


def test_many_pieces_are_joined(memory: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST", 5)
    one, data = driver(memory, 1, b"header\n"), b"header\n"
    for number in range(23):
        if one.is_in_pieces():
            one.begin(data)
        line = b"%d\n" % number
        assert one.append(line)
        data += line
        assert Segments(memory).read() == data
        assert len(names(memory)) <= 5


def test_it_is_read_whole_while_it_is_joined(memory: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    one = driver(memory, 1, b"header\n")
    one.append(b"a\n")
    get_all, joined = memory.get_all, []

    def late(wanted):
        if not joined:
            joined.append(one.begin(b"header\na\n"))  # between the look at what is there and the reading
        return get_all(wanted)

    monkeypatch.setattr(memory, "get_all", late)
    assert Segments(memory).read() == b"header\na\n"


def test_nothing_is_read_twice_while_it_is_joined(memory: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    one, get_all = driver(memory, 1, b"header\n"), memory.get_all
    one.append(b"a\n")

    def late(wanted):
        monkeypatch.setattr(memory, "get_all", get_all)
        memory.put(one._name(0), b"header\na\n")  # the joined piece is there, and those before it are still
        return get_all(wanted)

    monkeypatch.setattr(memory, "get_all", late)
    assert Segments(memory).read() == b"header\na\n"


def test_who_has_lost_its_lease_deletes_nothing_of_its_successor(memory: Objects) -> None:
    old = driver(memory, 1, b"header\n")
    new = driver(memory, 2, b"header\n")
    assert new.append(b"new\n")
    old.begin(b"header\nlate\n")
    assert Segments(memory).read() == b"header\nnew\n"


@pytest.mark.parametrize("seed", range(30))
def test_a_reader_sees_a_beginning_of_what_the_last_driver_wrote(memory: Objects, seed: int) -> None:
    """Drivers take over from each other at any moment; those before go on for a while, and nothing of it counts."""
    dice = random.Random(seed)
    drivers = [driver(memory, 1, b"header\n")]
    truth, written = b"header\n", {1: b"header\n"}
    for step in range(60):
        if dice.random() < 0.1:
            seen = Segments(memory).read()
            assert truth.startswith(seen)
            truth = seen
            drivers.append(driver(memory, drivers[-1].term + 1, truth))
            written[drivers[-1].term] = truth
        one = dice.choice(drivers[-3:])
        line = b"%d by %d\n" % (step, one.term)
        written[one.term] += line
        if dice.random() < 0.2:
            one.begin(written[one.term])  # it joins its pieces
        else:
            one.append(line)
        truth += line if one is drivers[-1] else b""
        assert Segments(memory).read() == truth
