"""Which trials have a place, and what they are given: no Ray."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from core.experiments import experiment
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.core.gpus import Gpus
from tuner.core.trial import TrialState
from tuner.engine.machines import Node, Share, Want
from tuner.engine.placement import Placement
from tuner.errors import ClusterError

TWO = [Node(8, 2)]


def placement(resources: Any, nodes: Any = TWO, trials: int = 50) -> Placement:
    return Placement(experiment(resources=resources, budget={"trials": trials, "epochs": 2}), nodes)


def want(made: Placement, known: Gpus | None = None, **params: Any) -> Want:
    trial = TrialState(id=str(params), number=0, params=params, choices={})
    return made.want(trial, known or Gpus.of({}))


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


GIB = 2**30
LARGE_AND_SMALL = [Node(8, 1, card=24 * GIB, name="small"), Node(8, 1, card=80 * GIB, name="large")]


def known(level: int = 4, **measured: int) -> Gpus:
    """Know what trials with these depths took, in GiB."""
    made = Gpus.of(experiment(space={"depth": {"dist": "int", "low": 1, "high": 99}}).space)
    made.packing.level, made.packing.settled = level, level > 1
    for name, memory in measured.items():
        made.sizes.measured({"depth": int(name[1:])}, 1, memory * GIB)
    return made


def test_a_trial_gets_the_smallest_share_of_each_gpu_that_holds_it() -> None:
    made = placement({"gpus": "auto"}, LARGE_AND_SMALL)
    wanted = want(made, known(level=8, d4=10), depth=4)
    shares = [made.take(str(i), wanted) for i in range(10)]
    places = [(share.node, share.gpus, share.memory // GIB) for share in shares if share]
    assert places == [*[("small", 0.5, 12)] * 2, *[("large", 0.1428, 11)] * 7], "a tenth of it stays free"


def test_what_is_not_known_is_measured_on_a_whole_gpu_that_is_large_enough() -> None:
    made = placement({"gpus": "auto"}, LARGE_AND_SMALL)
    probe = want(made, known(d4=30), depth=6)
    assert (probe.probe, probe.more_than) == (True, 30 * GIB)
    share = made.take("a", probe)
    assert share is not None
    assert (share.node, share.gpus, share.probe) == ("large", 1.0, True)
    assert made.take("b", probe) is None, "the small one would not do"


def test_one_that_lies_between_two_that_need_about_the_same_is_not_measured() -> None:
    made = placement({"gpus": "auto"}, [Node(8, 1, card=80 * GIB)])
    wanted = want(made, known(d4=10, d8=18), depth=6)
    assert (wanted.probe, wanted.memory) == (False, int(1.1 * 18 * GIB))
    assert want(made, known(level=8, d4=3, d8=60), depth=6).probe, "an eighth of a GPU, or a whole one"


def test_while_no_two_share_a_gpu_the_trial_itself_is_measured() -> None:
    made = placement({"gpus": "auto"}, LARGE_AND_SMALL)
    wanted = want(made, known(level=1), depth=6)
    assert (wanted.gpus, wanted.probe) == (1.0, False)
    share = made.take("a", want(made, known(level=1, d5=30), depth=6))
    assert share is not None
    assert share.node == "large"


def test_one_that_no_gpu_holds_may_try_and_none_waits_for_ever() -> None:
    made = placement({"gpus": "auto"}, [Node(8, 1, card=24 * GIB)])
    share = made.take("a", want(made, known(d4=30), depth=6))
    assert share is not None
    assert (share.gpus, share.node) == (1.0, "")
    made.give_back("a")
    taken = made.take("b", want(made, known(d6=30), depth=6))
    assert taken == Share(1, 1.0, 24 * GIB), "it was measured on a larger one, which is gone"


def test_without_gpus_auto_means_the_cpu() -> None:
    made = placement({"gpus": "auto"}, [Node(4)])
    assert made.slots == 4
    assert want(made, known(), depth=6) == Want(1, 0.0)


def test_a_trial_that_ran_out_gets_more_than_it_had() -> None:
    made = placement({"gpus": "auto"}, [Node(8, 1, card=80 * GIB)])
    facts = known(level=8, d4=10, d6=22)
    facts.sizes.ran_out({"depth": 5}, 1, 20 * GIB)
    assert made.take("a", want(made, facts, depth=5)) == Share(1, 0.3333, int(0.3333 * 80 * GIB))


def test_one_that_took_more_than_was_measured_is_not_measured_again() -> None:
    made = placement({"gpus": "auto"}, [Node(8, 1, card=80 * GIB)])
    trial = TrialState(id="t0", number=0, params={"depth": 4}, choices={}, probed=1)
    facts = known(level=8, d4=10)
    facts.sizes.ran_out(trial.params, 1, 20 * GIB)
    assert made.want(trial, facts) == Want(1, 0.0, int(1.1 * 40 * GIB), 40 * GIB, 8, by_card=True)
    trial.parts = 2
    assert made.want(trial, facts).probe, "with other parts it is another matter"


def test_who_shares_a_gpu_is_counted() -> None:
    made = placement({"gpus": 0.5, "placement": "pack"}, TWO)
    for name in "abc":
        made.take(name, Want(1, 0.5))
    assert [made.together(name) for name in "abcd"] == [2, 2, 1, 0]
    made.give_back("a")
    assert made.together("b") == 1
    made.take("d", Want(1, 0.0))
    assert made.together("d") == 0


def test_one_of_which_a_larger_one_was_measured_lies_where_that_would_fit() -> None:
    made = placement({"gpus": "auto"}, LARGE_AND_SMALL)
    for level in (1, 4):
        share = made.take(str(level), want(made, known(level=level, d4=3, d8=30), depth=6))
        assert share is not None
        assert share.node == "large"
        made.give_back(str(level))


def test_until_it_is_known_how_many_do_well_side_by_side_each_is_first_measured_alone() -> None:
    made = placement({"gpus": "auto"}, [Node(8, 1, card=80 * GIB)])
    facts = known(level=4, d4=10, d8=18)
    facts.packing.settled = False
    assert want(made, facts, depth=6).probe, "a quarter of the GPU: it may meet three others"
    facts.sizes.measured({"depth": 6}, 1, 12 * GIB, step=0.1)
    assert not want(made, facts, depth=6).probe, "it is known how it does alone"
    facts.sizes.measured({"depth": 9}, 1, 25 * GIB)
    assert not want(made, facts, depth=9).probe, "half of the GPU: it never meets three others"


def test_no_trial_waits_for_a_whole_gpu_where_there_is_a_good_guess() -> None:
    made = placement({"gpus": "auto"}, [Node(8, 1, card=80 * GIB)])
    facts = known(level=4, **{f"d{depth}": 2 * depth for depth in range(1, 10)})
    unknown = want(made, facts, depth=12)
    assert unknown.probe
    share = made.take("a", unknown)
    assert share is not None
    assert (share.gpus, share.probe) == (1.0, True), "a GPU is free"
    made.give_back("a")
    made.take("other", want(made, facts, depth=4))
    rough = made.take("a", unknown)
    assert rough is not None
    assert (rough.gpus, rough.probe) == (0.3333, False), "24 GiB, by the others, and some more"


def test_no_more_share_a_gpu_than_there_are_trials_for_it() -> None:
    two = [Node(8, 2, card=16 * GIB)]
    for resources, gpus in (({"max_trials": 2}, 1.0), ({"max_trials": 3}, 0.5), ({"placement": "pack"}, 0.125)):
        made = placement({"gpus": "auto", **resources}, two)
        share = made.take("a", want(made, known(level=8, d4=1), depth=4))
        assert share is not None
        assert share.gpus == gpus, resources


def test_a_machine_that_is_gone_is_asked_for_no_more() -> None:
    made = placement({"gpus": "auto"}, LARGE_AND_SMALL)
    facts = known(level=8, d4=30)
    share = made.take("a", want(made, facts, depth=4))
    assert share is not None
    assert share.node == "large"
    made.refit([node for node in made.nodes if node.name != "large"])
    made.give_back("a")
    again = made.take("a", want(made, facts, depth=4))
    assert again is not None
    assert (again.memory, made.largest_card) == (24 * GIB, 24 * GIB), "it may try on what there is"


def test_the_memory_of_a_fixed_share_is_known_only_where_all_gpus_are_alike() -> None:
    entries = [{"when": {"x": 0.5}, "gpus": 0.5}, {"gpus": "auto"}]
    share = placement(entries, LARGE_AND_SMALL).take("a", Want(1, 0.5))
    assert share == Share(1, 0.5, 0)
    assert placement(entries, [Node(8, 1, card=80 * GIB)]).take("a", Want(1, 0.5)) == Share(1, 0.5, 40 * GIB)


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


def test_trials_wait_for_a_large_gpu_that_may_come_back() -> None:
    spec = experiment(resources={"gpus": "auto"}, budget={"trials": 9, "epochs": 2})
    for may_come, largest in (((), 24 * GIB), ((Node(8, 1),), 80 * GIB)):
        made = Placement(spec, LARGE_AND_SMALL, may_come)
        made.refit([node for node in LARGE_AND_SMALL if node.name != "large"])
        assert made.largest_card == largest
        taken = made.take("a", want(made, known(level=8, d4=30), depth=4))
        assert (taken is None) == bool(may_come)
