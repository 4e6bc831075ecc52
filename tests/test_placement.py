"""Which trials have a place, and what they are given: no Ray."""

from __future__ import annotations

from typing import Any

import pytest
from core.experiments import experiment
from hypothesis import given
from hypothesis import strategies as st

from tuner.engine.placement import Placement, Share
from tuner.errors import ClusterError

TWO = [{"CPU": 8.0, "GPU": 2.0}]


def placement(resources: Any, nodes: Any = TWO, trials: int = 50) -> Placement:
    return Placement(experiment(resources=resources, budget={"trials": trials, "epochs": 2}), nodes)


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
    assert (made.slots, made.share({}).gpus) == (slots, gpus)


def test_one_gpu_more_than_there_is_and_a_machine_too_small_are_refused_with_what_there_is() -> None:
    with pytest.raises(ClusterError, match="asks for 1 CPUs and 3 GPUs, and the largest has 8 CPUs and 2 GPUs"):
        placement({"gpus": 3, "ranks": 1})
    with pytest.raises(ClusterError, match="asks for 9 CPUs and 0 GPUs, and the largest has 8 CPUs"):
        placement({"cpus": 3, "ranks": 3})
    with pytest.raises(ClusterError, match=r"a trial with \{'x': 0.5\} must fit"):
        placement([{"when": {"x": 0.5}, "cpus": 9}, {"cpus": 1}])


def test_all_ranks_of_a_trial_have_a_place_on_one_machine_or_none_has() -> None:
    made = placement({"ranks": 4}, [{"CPU": 6.0}, {"CPU": 2.0}, {"CPU": 5.0}])
    assert made.slots == 2
    share = made.share({})
    assert share == Share(4, 0, 4)
    assert made.take("a", share) and made.take("b", share)
    assert not made.take("c", share), "what is left is on three machines"


def test_the_first_entry_whose_condition_holds_counts_and_all_wait_their_turn() -> None:
    made = placement([{"when": {"x": [0.5, 0.25]}, "gpus": 1}, {"gpus": 0.5}])
    wide, narrow = made.share({"x": 0.25}), made.share({"x": 0.3})
    assert (wide, narrow) == (Share(1, 1), Share(1, 0.5))
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
    made = placement(
        {"gpus": 0.5, "placement": "pack"}, [{"CPU": 1.0, "GPU": 4.0}, {"CPU": 16.0, "GPU": 1.0}, {"CPU": 4.0}]
    )
    assert made.slots == 3


@given(st.lists(st.sampled_from([0.25, 0.3333, 0.5, 1.0, 2.0]), max_size=30), st.randoms())
def test_no_gpu_is_ever_given_twice(shares: list[float], dice: Any) -> None:
    made = placement({"gpus": 0}, [{"CPU": 100.0, "GPU": 3.0}])
    held: list[str] = []
    for i, gpus in enumerate(shares):
        if made.take(str(i), Share(1, gpus)):
            held.append(str(i))
        if held and dice.random() < 0.4:
            made.give_back(held.pop(dice.randrange(len(held))))
        (machine,) = made._machines
        assert all(-1e-9 <= free <= 1 + 1e-9 for free in machine.gpus), machine.gpus
    for name in held:
        made.give_back(name)
    assert made._machines[0].gpus == pytest.approx([1.0] * 3)
