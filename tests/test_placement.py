"""Which trials have a place, and what they are given, as machines join and leave: no Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from core.experiments import experiment
from hypothesis import given, settings
from hypothesis import strategies as st
from placed import TWO, placement, want

from tuner.engine.cluster import Cluster
from tuner.engine.machines import Node, Share, Want
from tuner.engine.placement import Placement
from tuner.engine.run import _where
from tuner.errors import ClusterError


@pytest.mark.parametrize(
    ("resources", "slots", "gpus"),
    [
        ({"gpus": 0}, 8, 0),
        ({"gpus": 0.25, "placement": "pack"}, 8, 0.25),
        ({"gpus": 0.25}, 8, 0.25),
        ({"gpus": 0.25, "max_trials": 2}, 2, 1.0),
        ({"gpus": 0.25, "max_trials": 3}, 3, 0.5),
        ({"gpus": 0.25, "max_trials": 2, "placement": "pack"}, 2, 0.25),
        ({"gpus": 0.33, "placement": "pack"}, 6, 0.3333),
        ({"gpus": 1}, 2, 1),
        ({"gpus": 2, "ranks": 1}, 1, 2),
        ({"gpus": 0.25, "cpus": 4}, 2, 1.0),
        ({"gpus": 2}, 1, 2),
        ({"cpus": 2, "ranks": 2}, 2, 0),
        ({"cpus": 1, "ranks": 3}, 2, 0),
    ],
)
def test_shares_lie_on_all_gpus_or_on_few(resources: Any, slots: int, gpus: float) -> None:
    made = placement(resources)
    assert (made.slots, want(made).gpus) == (slots, gpus)


def test_one_gpu_more_than_there_is_and_a_machine_too_small_are_refused_with_what_there_is() -> None:
    with pytest.raises(ClusterError, match="asks for 1 CPUs and 3 GPUs, and the largest has 8 CPUs and 2 GPUs"):
        placement({"gpus": 3, "ranks": 1})
    with pytest.raises(ClusterError, match="asks for 9 CPUs and 0 GPUs, and the largest has 8 CPUs"):
        placement({"cpus": 3, "ranks": 3})
    with pytest.raises(ClusterError, match=r"a trial with \{'x': 0.5\} must fit"):
        placement([{"when": {"x": 0.5}, "cpus": 9}, {"cpus": 1}])


def test_a_refusal_names_a_machine_that_there_is() -> None:
    nodes = [Node(64), Node(4, 8)]
    with pytest.raises(ClusterError, match=r"asks for 8 CPUs and 1 GPUs, and the largest has 4 CPUs and 8 GPUs. Ask"):
        placement({"cpus": 8, "gpus": 1}, nodes)
    with pytest.raises(ClusterError, match=r"asks for 65 CPUs and 0 GPUs, and the largest has 64 CPUs and 0 GPUs. Ask"):
        placement({"cpus": 65}, nodes)
    with pytest.raises(ClusterError, match=r"the largest has 64 CPUs and 0 GPUs. There is no GPU here: set gpus to 0"):
        placement({"gpus": 0.5}, nodes[:1])


def test_all_ranks_of_a_trial_have_a_place_on_one_machine_or_none_has() -> None:
    made = placement({"ranks": 4}, [Node(6), Node(2), Node(5)])
    assert made.slots == 2
    assert want(made) == Want(4, 0, ranks=4)
    assert made.take("a", want(made)) == made.take("b", want(made)) == Share(4, 0, ranks=4)
    assert made.take("c", want(made)) is None, "what is left is on three machines"


def test_the_first_entry_whose_condition_holds_counts_and_all_wait_their_turn() -> None:
    made = placement([{"when": {"x": [0.5, 0.25]}, "gpus": 1}, {"gpus": 0.5}])
    wide, narrow = want(made, x=0.25), want(made, x=0.3)
    assert (wide, narrow) == (Want(1, 1), Want(1, 0.5))
    assert made.slots == 4
    assert made.take("a", narrow)
    assert made.take("b", wide)
    assert not made.take("c", wide), "half a GPU is free, no whole one"
    assert made.take("d", narrow)
    made.give_back("a")
    assert not made.take("c", wide)
    made.give_back("d")
    assert made.take("c", wide)
    made.give_back("never taken")


def test_nodes_with_gpus_of_their_own_each_hold_their_part() -> None:
    made = placement({"gpus": 0.5, "placement": "pack"}, [Node(1, 4), Node(16, 1), Node(4)])
    assert made.slots == 3


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.25, 0.3333, 0.5, 1.0, 2.0]), max_size=30), st.randoms())
def test_no_gpu_is_ever_given_twice(shares: list[float], dice: Any) -> None:
    made = placement({"gpus": 0}, [Node(100, 3)])
    held: list[str] = []
    for i, gpus in enumerate(shares):
        if made.take(str(i), Want(1, gpus)):
            held.append(str(i))
        if held and dice.random() < 0.4:
            made.give_back(held.pop(dice.randrange(len(held))))
        (machine,) = made._machines
        assert all(-1e-9 <= free <= 1 + 1e-9 for free in machine.gpus), machine.gpus
    for name in held:
        made.give_back(name)
    assert made._machines[0].gpus == pytest.approx([1.0] * 3)


def test_who_shares_a_gpu_is_counted() -> None:
    made = placement({"gpus": 0.5, "placement": "pack"}, TWO)
    for name in "abc":
        made.take(name, Want(1, 0.5))
    assert [made.together(name) for name in "abcd"] == [2, 2, 1, 0]
    made.give_back("a")
    assert made.together("b") == 1
    made.take("d", Want(1, 0.0))
    assert made.together("d") == 0


def test_machines_join_and_leave_while_trials_keep_what_they_have() -> None:
    first, second = Node(2, name="first"), Node(4, name="second")
    made = placement({"cpus": 2}, [first])
    assert made.take("a", want(made)) is not None
    assert made.take("b", want(made)) is None
    made.refit([first, second])
    assert made.slots == 3
    assert [made.take(name, want(made)) is not None for name in "bcd"] == [True, True, False]
    made.refit([second])
    assert made.slots == 2
    made.give_back("a")
    assert made.take("d", want(made)) is None, "its machine is gone, and its room with it"


def test_no_trial_begins_on_a_machine_that_is_about_to_be_taken_away() -> None:
    stays, leaves = Node(1, name="stays"), Node(1, name="leaves", leaving=True)
    made = placement({}, [stays, replace(leaves, leaving=False)])
    assert [made.take(name, want(made)) is not None for name in "ab"] == [True, True]
    made.refit([stays, leaves])
    assert (made.slots, [made.leaves_soon(name) for name in "abc"]) == (1, [False, True, False])
    made.give_back("b")
    assert made.take("c", want(made)) is None
    made.give_back("a")
    assert made.take("c", want(made)) is not None


def test_where_a_trial_runs_is_what_ray_says() -> None:
    made = placement({"gpus": 0.5}, [Node(2, 1, name="first"), Node(2, 1, name="second")])
    for name in "abcd":
        assert made.take(name, want(made)) is not None
    for name, machine in (("a", "second"), ("c", "first"), ("x", "first"), ("b", "")):
        made.runs_on(name, machine)
    made.refit([Node(2, 1, name="first"), Node(2, 1, name="second", leaving=True)])
    assert [name for name in "abcd" if made.leaves_soon(name)] == ["a", "d"]
    for name in "bc":
        made.give_back(name)
    assert [made.take(name, want(made)) is not None for name in "efg"] == [True, True, False]


def test_what_fits_only_on_machines_that_may_come_waits_for_them() -> None:
    spec = experiment(resources={"gpus": 0.5}, budget={"trials": 9, "epochs": 2})
    made = Placement(spec, [Node(4)], may_come=[Node(8, 1)])
    assert (made.slots, want(made).gpus, made.take("a", want(made))) == (0, 0.5, None)
    made.refit([Node(4), Node(8, 1, name="new")])
    assert made.slots == 2
    made.refit([Node(4)])
    assert (made.slots, made.take("a", want(made))) == (0, None), "it does not go without"
    with pytest.raises(ClusterError, match="must fit on one machine, but it asks for 1 CPUs and 0"):
        Placement(spec, [Node(4)], may_come=[Node(8)])


@pytest.mark.parametrize(("gpus", "said"), [(0, True), (0.5, False), ("auto", False)])
def test_gpus_that_no_trial_uses_are_told(gpus: Any, said: bool) -> None:
    cluster = Cluster([Node(8, 2)], dashboard="", scratch=Path(), local=True, here="")
    told = _where(cluster, experiment(resources={"gpus": gpus}))
    assert told.startswith("Ray runs on this machine: 8 CPUs, 2 GPUs")
    assert ("trials use no GPU" in told) is said
