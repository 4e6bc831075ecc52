"""Runs that dice write, each step held against a plain model of its rule; and what holds for every run.

`TUNER_EXAMPLES=5000 pytest tests/core/test_properties.py` looks further than the fixed examples do.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, cycle, product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.audit import audit
from tuner.core.events import Elapsed, Event, Failed, Free, Gone, Returned, StopAsked
from tuner.core.lines import from_json, to_json
from tuner.core.records import Asked, Cause, Promoted, Record, Report, Session, Suggested
from tuner.core.state import RunState, replay
from tuner.core.trial import TrialState
from tuner.spec.experiment import Experiment

from .experiments import CONDITIONAL, PLAIN, STEPPED, Hand, experiment
from .reference import MODELS, Answer, Model

pytestmark = pytest.mark.slow

EXPLORE = int(os.environ.get("TUNER_EXAMPLES", "0"))
NOT_FINITE = (math.nan, math.inf, -math.inf)
pick = st.sampled_from
TIES = [place / 8 for place in range(9)]
EXTREMES = [sign * size for size in (0.0, 5e-324, 2.0**-1022, 1 - 2**-53, 1 + 2**-52, 1.7976931348623157e308)
            for sign in (1.0, -1.0)]  # fmt: skip
SUMMABLE = [sign * size for size in (0.0, 2.0**-1070, 2.0**1000) for sign in (1.0, -1.0)]
"""Extremes whose sums and means, also with numbers of a usual size, a float rounds as it does the exact ones."""
SLOTS = pick([1, 2, 3, 4, 12, 12])  # a few, or one for each trial


def examples(count: int) -> Callable[[Any], Any]:
    """Draw the same examples each time; no clock may fail them."""
    return settings(
        max_examples=EXPLORE or count, derandomize=not EXPLORE, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip


@dataclass(frozen=True)
class Move:
    """What happens next, and to which of the trials that could be meant."""

    what: str
    who: int
    much: int  # epochs of a report, losses in a row, or by how much a budget grows
    saved: bool
    value: float


USUAL = ["report"] * 18 + ["lost", "lost", "late", "diverge", "return"]
OUTSIDE = ["stop", "stop all", "hours", "grow", "resume"]


@st.composite
def moves(draw: st.DrawFn, whats: list[str], rule: str) -> list[Move]:
    """Draw what happens in a run until it is quiet: as bytes, which is fast, and makes no move a copy of another."""
    # Where a free slot is left free for long, several trials wait for it when it is filled.
    whats = whats + ["free"] * draw(pick([0, 6]))
    extremes = 2 * (SUMMABLE if rule == "median" else EXTREMES)
    values = [*8 * TIES, *(place * 37 % 64 + 1 / 16 for place in range(64)), *extremes]
    count = draw(st.integers(1, 100))
    drawn = draw(st.binary(min_size=4 * count, max_size=4 * count))
    return [
        Move(whats[a % len(whats)], b % 12, (1, 1, 1, 2, 3, 6)[b // 12 % 6], c % 3 < 2, values[d % len(values)])
        for a, b, c, d in zip(*[iter(drawn)] * 4, strict=True)
    ]


class Play:
    """A run made of moves, with a model that must foretell each of its steps."""

    def __init__(self, spec: Experiment, slots: int, model: Model | None = None) -> None:
        self.hand, self.model = Hand(spec, slots), model
        self.seen: Counter[str] = Counter()

    def play(self, drawn: list[Move]) -> Play:
        """Make the moves, then let the rest of the run be quiet; it must end."""
        run, budget = self.hand.core.run, self.hand.spec.budget
        quiet = [replace(move, what=what) for move in drawn for what in ("free", "report")]
        bound = len(drawn) + 2 * (budget.trials + 12) * (budget.epochs + 12) ** 2
        for number, move in enumerate(chain(drawn, cycle(quiet))):
            if run.finished() and (self.model or number >= len(drawn)):  # without a model it may still grow
                break
            assert number < bound, "it must end"
            self.move(move)
            assert all(trial.epoch < self.hand.core.spec.budget.epochs for trial in run.having("running"))
        return self

    def move(self, move: Move) -> None:
        """Turn a move into events; where no slot is free, or nothing is there to begin, a trial reports."""
        run = self.hand.core.run
        running = list(run.having("running"))
        if move.what in OUTSIDE:
            self.outside(move)
        elif move.what == "late":
            self.late(move)
        elif not running or (move.what == "free" and len(running) < run.slots):
            begun = [self.tell(Free()) for _ in range(run.slots - len(running))[: move.much if running else None]]
            assert any(begun) or running or run.finished(), "nobody trains and nothing is begun, but it is not over"
        else:
            for event in self.events(move, running[move.who % len(running)]):
                self.tell(event)

    def events(self, move: Move, trial: TrialState) -> Iterator[Event]:
        """Spell what happens to a trial that runs."""
        if move.what == "lost":
            cause: Cause = ("worker", "stalled", "machine")[move.who % 3]
            yield from [Gone(trial=trial.id, reason="x", cause=cause)] * move.much
        elif move.what == "return":
            yield Returned(trial=trial.id)
        elif move.what == "fail":
            yield Failed(trial=trial.id, outcome="failed", reason="ValueError: x")
        else:
            value = NOT_FINITE[move.who % 3] if move.what == "diverge" else move.value
            # A budget that grows to less than an epoch that was reported is refused by nobody, and means nothing.
            last = math.inf if self.model else self.hand.core.spec.budget.epochs
            yield self.hand.reported(trial.id, int(min(trial.epoch + move.much, last)), value, move.saved)

    def late(self, move: Move) -> None:
        """Let reports arrive that are known, of another generation, or of a trial that does not run: for nothing."""
        for trial in list(self.hand.core.run.trials.values())[move.who : move.who + 1]:
            new = self.hand.reported(trial.id, trial.epoch + 1, move.value)
            known = replace(new, epoch=trial.epoch + 1 - move.much)
            assert self.tell(known if trial.status == "running" else new) is None
            assert self.tell(replace(new, generation=trial.generation - 1)) is None

    def outside(self, move: Move) -> None:
        """Do what users, clocks and crashes of the driver do."""
        run, budget = self.hand.core.run, self.hand.core.spec.budget
        trials = list(run.trials)
        if move.what == "stop" and trials:
            self.tell(StopAsked(trial=trials[move.who % len(trials)]))
        elif move.what == "stop all":
            self.tell(StopAsked())
        elif move.what == "hours":
            self.tell(Elapsed(seconds=3600.0 * move.much))
        elif move.what == "grow":
            part = "trials" if move.who < 4 and self.hand.spec.scheduler.kind != "pbt" else "epochs"
            self.hand.take(Asked(budget={part: getattr(budget, part) + move.much}))
        elif move.what == "resume":
            self.hand.take(Session(attempt=run.attempt + 1, host="h", pid=1, slots=1 + move.who % 4, versions={}))

    def tell(self, event: Event) -> Record | None:
        """Let core and model answer an event, and compare."""
        before = None if self.model else told(self.hand.core.decide(event))
        record = self.hand.do(event)
        answer = told(record)
        self.seen[f"{answer.what} {answer.outcome}" if answer else "nothing"] += 1
        if self.model is None:
            assert answer == before, "to decide is to change nothing"
        else:
            assert answer == self.model.expect(event, dice(record))
            assert entered(self.hand.core.run.trials) == entered(self.model.trials)
        return record


def told(record: Record | None) -> Answer | None:
    """Say in a model's words what the core has answered."""
    if isinstance(record, Report):
        return Answer(record.decision.action, record.trial, record.decision.outcome, record.decision.mark)
    return record and Answer(record.kind, getattr(record, "trial", None) or "", getattr(record, "outcome", None))


def dice(record: Record | None) -> Any:
    """Read what dice have decided: the params of a new trial, or the clone."""
    if isinstance(record, Report):
        return record.decision.clone
    return record.params if isinstance(record, Suggested) else None


def entered(trials: Any) -> list[tuple[Any, ...]]:
    """List what both sides know of each trial."""
    return [(t.number, t.status, t.outcome, t.epoch, t.generation, t.params) for t in trials.values()]


@st.composite
def specs(draw: st.DrawFn, scheduler: dict[str, Any], **budget: st.SearchStrategy[Any]) -> Experiment:
    """Draw an experiment; the scheduler's keys are strategies."""
    space = draw(pick([PLAIN, STEPPED, CONDITIONAL]))
    parts = {key: draw(part) for key, part in scheduler.items()}
    if "mutate" in parts:
        parts["mutate"] = parts["mutate"] and list(space)[: parts["mutate"]]
    sizes = {"trials": pick([2, 6, 12, 12, 20, 20]), "epochs": pick([3, 9, 12]), **budget}
    return experiment(
        scheduler=parts, space=space, seed=draw(pick(range(4))),
        objective={"metric": "score", "mode": draw(pick(["min", "max"]))},
        budget={key: draw(part) for key, part in sizes.items()},
    )  # fmt: skip


LADDER = {"grace_epochs": pick([1, 2, 3]), "reduction_factor": pick([2, 3, 4, 1.5, 2.5, 1.6, 2.2])}
BRACKETS = {"brackets": pick([None, None, 2, 3])}
SCHEDULERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "asha stopping": {"kind": st.just("asha"), **LADDER, "quota": pick([True, False])},
    "asha promoting": {"kind": st.just("asha"), **LADDER, "promote": st.just(True)},
    "hyperband stopping": {"kind": st.just("hyperband"), **LADDER, **BRACKETS},
    "hyperband promoting": {"kind": st.just("hyperband"), **LADDER, **BRACKETS, "promote": st.just(True)},
    "median": {"kind": st.just("median"), "grace_epochs": pick([1, 2, 3]), "min_trials": pick([1, 2, 3, 4])},
    "pbt": {"kind": st.just("pbt"), "interval_epochs": pick([1, 2, 3]), "quantile": pick([0.1, 0.25, 0.4, 0.5]),
            "resample": pick([0.0, 0.0, 0.25, 1.0]), "mutate": pick([None, 2, 9])},
    "none": {"kind": st.just("none")},
}  # fmt: skip
EXPECTED = {  # what a rule must have answered often enough, or the dice were poor
    "stopping": ["end stopped"],
    "promoting": ["pause None", "promoted None", "ended stopped"],
    "median": ["end stopped"],
    "pbt": ["clone None", "pause None", "promoted None"],
    "none": [],
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_step_is_what_a_plain_model_of_the_rule_foretells(name: str) -> None:
    seen: Counter[str] = Counter()

    @examples(110 if EXPECTED[name.split()[-1]] else 40)
    @given(specs(SCHEDULERS[name]), SLOTS, moves(USUAL, name))
    def check(spec: Experiment, slots: int, drawn: list[Move]) -> None:
        seen.update(Play(spec, slots, MODELS[spec.scheduler.kind](spec, slots)).play(drawn).seen)

    check()
    assert EXPLORE or min(seen[answer] for answer in [*EXPECTED[name.split()[-1]], "end diverged", "lost None"]) > 15


@pytest.mark.parametrize("name", SCHEDULERS)
def test_whatever_happens_a_run_ends_and_its_ledger_tells_the_same_again(name: str) -> None:
    limits = {"hours": pick([None, 2.0]), "target": pick([None, None, 0.9])}

    @examples(40)
    @given(specs(SCHEDULERS[name], **limits), SLOTS, moves([*USUAL, "fail", *OUTSIDE], name))
    def check(spec: Experiment, slots: int, drawn: list[Move]) -> None:
        hand = Play(spec, slots).play(drawn).hand
        assert_epochs_go_up(hand.records)
        lines = [to_json(record) for record in hand.records]
        records = [from_json(line) for line in lines]
        assert [to_json(record) for record in records] == lines
        assert known(replay(records)) == known(hand.core.run)
        found = audit(records, {})
        assert (found.difference, found.skipped) == ("", [])
        assert found.decided >= sum(isinstance(record, Report | Suggested) for record in records)

    check()


def known(run: RunState) -> str:
    """Show all that a state holds; in text NaN equals NaN."""
    return repr({name: getattr(part, "__dict__", part) for name, part in vars(run).items()})


def assert_epochs_go_up(records: list[Record]) -> None:
    """Check that a trial's epochs rise within a generation, and that each clone begins the next one."""
    reached: dict[str, tuple[int, int]] = {}
    for report in (record for record in records if isinstance(record, Report)):
        generation, epoch = reached.get(report.trial, (0, 0))
        assert report.generation == generation and report.epoch > epoch
        clone = report.decision.clone
        reached[report.trial] = (generation + 1, clone.epoch) if clone else (generation, report.epoch)


@pytest.mark.parametrize("value", [0.1, 1e308])
def test_median_stops_no_trial_that_is_as_good_as_all_others(value: float) -> None:
    run = Hand(experiment(scheduler={"kind": "median", "min_trials": 1}))
    for name, epoch in product(run.start(2), (1, 2, 3)):
        assert run.report(name, epoch, value).action == "go"


def test_the_best_five_of_eight_are_one_in_1_6() -> None:
    run = Hand(experiment(scheduler={"kind": "asha", "promote": True, "reduction_factor": 1.6}))
    for place, name in enumerate(run.start(8)):
        run.report(name, 1, -place)
    assert all(isinstance(run.do(Free()), Promoted) for _ in range(5))


def test_brackets_of_hyperband_get_the_same_budget_where_fewer_are_wanted_than_fit() -> None:
    run = Hand(experiment(scheduler={"kind": "hyperband", "brackets": 2}, budget={"trials": 9, "epochs": 27}))
    first, second = run.core.rule.shares
    # Halving spends as much on each round: four of them if the first ends at epoch 1, three if it ends at 3.
    assert first * 1 * 4 == pytest.approx(second * 3 * 3)


def test_a_trial_that_reached_the_target_at_its_last_epoch_is_over() -> None:
    run = Hand(experiment(budget={"trials": 1, "epochs": 1, "target": 0.5}))
    (name,) = run.start(1)
    assert run.report(name, 1, 0.6).target
    run.take(Asked(budget={"trials": 2}))
    assert run.trial(name).status == "ended"
