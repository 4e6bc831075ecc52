"""Which share of a GPU a trial gets, by the memory that was measured of it and of others: no Ray."""

from __future__ import annotations

from core.experiments import experiment
from placed import placement, want

from tuner.core.gpus import Gpus
from tuner.core.trial import TrialState
from tuner.engine.machines import Node, Share, Want
from tuner.engine.placement import Placement

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


def test_trials_wait_for_a_large_gpu_that_may_come_back() -> None:
    spec = experiment(resources={"gpus": "auto"}, budget={"trials": 9, "epochs": 2})
    for may_come, largest in (((), 24 * GIB), ((Node(8, 1),), 80 * GIB)):
        made = Placement(spec, LARGE_AND_SMALL, may_come)
        made.refit([node for node in LARGE_AND_SMALL if node.name != "large"])
        assert made.largest_card == largest
        taken = made.take("a", want(made, known(level=8, d4=30), depth=4))
        assert (taken is None) == bool(may_come)
