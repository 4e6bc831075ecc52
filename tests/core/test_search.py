"""The contract of the search: every kind goes through the same tests."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import pytest
from optuna.trial import TrialState

from tuner.core.events import Elapsed, Failed, Free, Gone, Returned, StopAsked
from tuner.core.records import OUTCOMES, Suggested
from tuner.core.run import MAX_LOSSES
from tuner.core.search.asker import OneAhead
from tuner.core.search.kinds import KINDS
from tuner.core.search.outcomes import STATES

from .experiments import Hand, curve, experiment, lines, play, simulate
from .searches import CASES, mostly, played, searcher, spec, suggestions

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:.sigma0. has been")


def test_every_kind_is_tried() -> None:
    assert {case.partition(" ")[0] for case in CASES} == set(KINDS)
    assert set(STATES) == set(OUTCOMES)


@pytest.mark.parametrize("case", CASES)
def test_a_study_rebuilt_from_the_ledger_suggests_what_the_live_one_did(case: str) -> None:
    made, records = spec(case), played(case)
    live = suggestions(records)
    same = 0
    for record in live:
        found = searcher(made, records[: record.seen]).suggest(record.number)
        again = replace(record, **asdict(found))
        assert lines([again]) == lines([record])
        assert again.attributes.keys() == record.attributes.keys()
        same += 1
    assert same >= 20


@pytest.mark.parametrize("case", CASES)
def test_the_ledger_fixes_what_a_suggestion_sees(case: str) -> None:
    records = played(case)
    asker = KINDS[spec(case).search.kind][1]
    places = {record.number: i for i, record in enumerate(records) if isinstance(record, Suggested)}
    for number, place in places.items():
        seen = records[place]
        assert isinstance(seen, Suggested)
        if asker is OneAhead and number > 0:
            assert seen.seen == places[number - 1] + 1, "up to the suggestion before, and nothing later"
        else:
            assert seen.seen == place, "all records before it"


@pytest.mark.parametrize("case", CASES)
def test_the_same_seed_and_arrivals_give_the_same_suggestions(case: str) -> None:
    again = play(spec(case, trials=14), mostly, slots=3, seed=0, faults=0.08).records
    last = again.index(suggestions(tuple(again))[-1]) + 1
    assert lines(again[1:last]) == lines(played(case)[1:last])
    ours = [record.params for record in suggestions(played(case))]
    other = [record.params for record in suggestions(tuple(play(spec(case, seed=1, trials=5), mostly).records))]
    assert all(a != b for a, b in zip(ours, other, strict=False)) or case == "grid"
    assert ours[:5] != other


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_of_the_search_overrides_that_of_the_run(kind: str) -> None:
    def first(seed: int, search_seed: int | None) -> dict[str, Any]:
        made = experiment(space=CASES[kind], seed=seed, search={"kind": kind, "seed": search_seed})
        return searcher(made, ()).suggest(0).params

    assert first(0, 7) == first(1, 7) == first(7, None) != first(0, None)


@pytest.mark.parametrize("case", CASES)
def test_params_lie_in_the_space_with_its_conditions_and_choices_name_their_values(case: str) -> None:
    made = spec(case)
    found = suggestions(played(case))
    assert len({str(record.params) for record in found}) == len(found)
    for record in found:
        active = {name for name, dimension in made.space.items() if dimension.active(record.params)}
        assert set(record.params) == active
        assert all(made.space[name].contains(value) for name, value in record.params.items())
        listed = {name: value for name, value in record.params.items() if CASES[case][name]["dist"] == "choice"}
        assert {name: CASES[case][name]["values"][index] for name, index in record.choices.items()} == listed
    if case.endswith("conditional"):
        assert len({tuple(sorted(record.params)) for record in found}) >= 4, "one form for each way through it"


@pytest.mark.parametrize("case", [case for case in CASES if case.partition(" ")[0] not in ("grid", "qmc")])
def test_start_points_come_first_and_what_they_leave_out_is_drawn(case: str) -> None:
    points: list[dict[str, Any]] = [{"lr": 0.25}, {"lr": 1e-3, **({} if "conditional" in case else {"momentum": 0.75})}]
    if case.endswith("conditional"):
        points.append({"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "lr": 0.5, "widths": [16, [32]]})
    made = spec(case, start={"points": points}, trials=12)
    hand = play(made, curve)
    found = suggestions(tuple(hand.records))
    for point, record in zip(points, found, strict=False):
        assert {name: record.params[name] for name in point} == point
        assert set(record.params) == {n for n, d in made.space.items() if d.active(record.params)}
    if not case.startswith("nsga2"):  # whose children have genes of their parents
        assert all(record.params["lr"] not in (0.25, 1e-3, 0.5) for record in found[len(points) :])
    for record in found:
        again = searcher(made, tuple(hand.records[: record.seen])).suggest(record.number)
        assert lines([replace(record, **asdict(again))]) == lines([record])


def test_asked_twice_for_one_trial_a_searcher_answers_the_same() -> None:
    for kind in KINDS:
        made = spec(kind)
        once, twice = searcher(made, played(kind)[:2]), searcher(made, played(kind)[:2])
        first = once.suggest(0)
        assert [twice.suggest(0), twice.suggest(0)] == [first, first]
        assert len(twice.study.get_trials()) == 1


def every_outcome(case: str, mode: str = "max") -> Hand:
    """Let trials end in every way that there is; the last one by the end of the run."""
    parts: dict[str, Any] = {
        "objective": {"metric": "score", "mode": mode},
        "budget": {"trials": 20, "epochs": 4, "hours": 1.0},
        "scheduler": {"kind": "asha"},
    }
    hand = Hand(spec(case, **parts), 100)
    names = []
    for _ in range(12):
        record = hand.do(Free())
        assert isinstance(record, Suggested)
        names.append(record.trial)
    sign = 1 if mode == "max" else -1
    for epoch, value in ((1, 0.5), (2, 0.9), (3, 0.8), (4, 0.7)):
        hand.report(names[0], epoch, sign * value)  # t0: finished, best at epoch 2
    hand.report(names[1], 1, sign * 0.1)  # t1: stopped by the rule
    hand.report(names[2], 1, sign * 0.95)
    hand.report(names[2], 2, math.nan)  # t2: diverged
    hand.report(names[3], 1, math.inf)  # t3: diverged at once
    hand.report(names[4], 1, sign * 0.96)
    hand.do(Failed(trial=names[4], outcome="failed", reason="ValueError"))
    hand.do(Failed(trial=names[5], outcome="infeasible", reason="out of memory"))
    hand.do(Failed(trial=names[6], outcome="stalled", reason="hung"))
    for _ in range(MAX_LOSSES["worker"] + 1):
        hand.do(Gone(trial=names[7], reason="node"))  # t7: lost
    hand.report(names[8], 1, sign * 0.97)
    hand.do(StopAsked(trial=names[8]))  # t8: killed by the user
    hand.report(names[9], 1, sign * 0.98)
    hand.report(names[9], 2, sign * 0.99)
    hand.do(Returned(trial=names[9]))  # t9: returned early: finished
    hand.report(names[10], 1, sign * 0.99)  # t10 and t11 still run
    return hand


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("case", ["tpe", "cmaes", "random"])
def test_what_each_outcome_is_in_the_study(case: str, mode: str) -> None:
    hand = every_outcome(case, mode)
    sign = 1 if mode == "max" else -1
    before = searcher(hand.spec, tuple(hand.records)).study.get_trials()
    assert [trial.state for trial in before[10:]] == [TrialState.RUNNING] * 2
    assert all(trial.state.is_finished() for trial in before[:10]), "known at once, not at the end of the run"
    hand.do(Elapsed(seconds=3600.0))
    trials = searcher(hand.spec, tuple(hand.records)).study.get_trials()
    outcomes = [trial.outcome for trial in hand.core.run.trials.values()]
    assert outcomes == [
        "finished", "stopped", "diverged", "diverged", "failed", "infeasible", "stalled", "lost", "killed", "finished",
        "stopped", "stopped",
    ]  # fmt: skip
    complete, pruned, fail = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    infeasible = pruned if case == "tpe" else fail  # told as a constraint that is broken
    states = [complete, pruned, pruned, pruned, fail, infeasible, fail, fail, fail, complete, pruned, pruned]
    assert [trial.state for trial in trials] == states
    assert trials[0].value == sign * 0.9, "the best of its epochs"
    assert trials[0].intermediate_values == {1: sign * 0.5, 2: sign * 0.9, 3: sign * 0.8, 4: sign * 0.7}
    assert trials[1].intermediate_values == {1: sign * 0.1}
    assert [(t.value, t.intermediate_values) for t in trials[2:4]] == [(None, {}), (None, {})]
    assert trials[9].value == sign * 0.99
    assert trials[10].intermediate_values == {1: sign * 0.99}
    assert [(trial.number, trial.params) for trial in trials] == [
        (record.number, {name: record.choices.get(name, value) for name, value in record.params.items()})
        for record in suggestions(tuple(hand.records))
    ]


@pytest.mark.parametrize("ending", ["target", "hours", "asked"])
def test_no_trial_is_left_running_however_a_run_ends(ending: str) -> None:
    hand = Hand(experiment(budget={"trials": 9, "epochs": 9, "hours": 1.0, "target": 5.0}))
    for _ in range(3):
        hand.do(Free())
    hand.report("t0001", 1, 0.5)
    if ending == "target":
        assert hand.report("t0000", 1, 5.0).target
    else:
        hand.do(Elapsed(seconds=3600.0) if ending == "hours" else StopAsked())
    assert hand.core.run.closed == ending
    states = [trial.state for trial in searcher(hand.spec, tuple(hand.records)).study.get_trials()]
    first, others = {
        "target": (TrialState.COMPLETE, TrialState.PRUNED),
        "hours": (TrialState.PRUNED, TrialState.PRUNED),
        "asked": (TrialState.FAIL, TrialState.FAIL),
    }[ending]
    assert states == [first, others, others]


@pytest.mark.parametrize("case", CASES)
def test_none_is_left_running_after_a_whole_run(case: str) -> None:
    study = searcher(spec(case), played(case)).study
    early = set() if case.startswith("nsga2") else {TrialState.PRUNED}  # which takes what was stopped as complete
    assert {trial.state for trial in study.get_trials()} >= {TrialState.COMPLETE, *early}
    assert all(trial.state.is_finished() for trial in study.get_trials())


def test_stopped_trials_keep_the_values_of_all_their_epochs() -> None:
    made = spec("tpe", scheduler={"kind": "median", "min_trials": 2}, trials=40)
    records = tuple(simulate(made, curve, slots=3))
    hand = Hand(made)
    for record in records:
        hand.core.apply(record)
    trials = searcher(made, records).study.get_trials()
    stopped = [trial for trial in hand.core.run.trials.values() if trial.outcome == "stopped"]
    assert len([trial for trial in stopped if len(trial.reports) > 1]) >= 3
    for trial in stopped:
        reported = {report.epoch: report.metrics["score"] for report in trial.reports}
        assert (trials[trial.number].state, trials[trial.number].intermediate_values) == (TrialState.PRUNED, reported)
