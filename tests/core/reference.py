"""What each rule ought to do, written plainly from its paper and from docs/, to be held against the real one.

A model keeps books of its own: it sees the same events as the core, and says what the core must answer. What dice
decide (a sampler's params, a clone's donor) it is told, and says whether they may fall so. It is slow on purpose:
fractions instead of floats where a share is taken, and every list sorted anew.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, count, takewhile
from typing import Any, NamedTuple

from tuner.core import chance
from tuner.core.events import Event, Free, Gone, Reported, Returned
from tuner.core.records import Clone, Mark, trial_id
from tuner.spec.experiment import Choice, Experiment, Float, Int

PATIENCE = {"worker": 5, "stalled": 2}  # losses in a row for a cause that may be the trial's own fault


class Answer(NamedTuple):
    """What becomes of a trial: a decision on its report, or a record of another kind."""

    what: str
    trial: str
    outcome: str | None = None
    mark: Mark | None = None


@dataclass(slots=True)
class Member:
    """One trial in a model's books."""

    number: int
    params: dict[str, Any]
    status: str = "running"
    outcome: str | None = None
    epoch: int = 0
    generation: int = 0
    scores: list[tuple[int, float]] = field(default_factory=list)
    """(epoch, score) of every finite report."""
    checkpoint: tuple[str, int] | None = None
    losses: Counter[str] = field(default_factory=Counter)
    judged_at: int = 0
    """The rung that it came to last; with PBT the epoch at which it was last compared."""
    judged: float | None = None
    """Its score there."""
    began_at: int = 0
    """The epoch of what it was cloned from."""

    @property
    def name(self) -> str:
        """Its name in the ledger."""
        return trial_id(self.number)


class Model:
    """No early stopping; and what all rules have in common."""

    def __init__(self, spec: Experiment, slots: int) -> None:
        self.spec, self.slots, self.rule = spec, slots, spec.scheduler
        self.sign = 1.0 if spec.objective.mode == "max" else -1.0
        self.trials: dict[str, Member] = {}

    def expect(self, event: Event, drawn: Any = None) -> Answer | None:
        """Say what the core must answer, and enter it in the books."""
        if isinstance(event, Free):
            return self.free(drawn)
        assert isinstance(event, Reported | Returned | Gone)
        member = self.trials[event.trial]
        if member.status == "ended":
            return None
        if isinstance(event, Reported):
            return self.report(member, event, drawn)
        if isinstance(event, Returned):
            return self.end(member, "finished" if member.epoch else "failed", "ended")
        member.losses[event.cause] += 1
        if member.losses[event.cause] > PATIENCE.get(event.cause, math.inf):
            return self.end(member, "stalled" if event.cause == "stalled" else "lost", "ended")
        return Answer("lost", member.name)

    def free(self, params: dict[str, Any] | None) -> Answer | None:
        """Promote before anything is begun; give up on the paused when nothing else is left."""
        if promoted := self.next():
            promoted.status = "running"
            return Answer("promoted", promoted.name)
        if len(self.trials) < self.spec.budget.trials:
            assert params is not None, "a trial must be begun"
            member = Member(len(self.trials), params)
            self.trials[member.name] = member
            return Answer("suggested", member.name)
        if not self.having("running") and (paused := self.having("paused")):
            return self.end(paused[0], "stopped", "ended")
        return None

    def report(self, member: Member, event: Reported, drawn: Clone | None) -> Answer | None:
        """Sort out what is old, broken or last; the rest is for the rule."""
        if member.status != "running" or event.generation != member.generation or event.epoch <= member.epoch:
            return None
        member.epoch = event.epoch
        member.losses.clear()
        if event.checkpoint:
            member.checkpoint = event.checkpoint, event.epoch
        value = event.metrics[self.spec.objective.metric]
        if not math.isfinite(value):
            return self.end(member, "diverged")
        member.scores.append((event.epoch, self.sign * value))
        if event.epoch >= self.spec.budget.epochs:
            return self.end(member, "finished")
        return self.judge(member, event.epoch, self.sign * value, drawn)

    def judge(self, member: Member, epoch: int, score: float, drawn: Clone | None) -> Answer:
        """Decide on a finite score before the last epoch."""
        return Answer("go", member.name)

    def next(self) -> Member | None:
        """Find who goes on after a pause."""
        return None

    def having(self, status: str) -> list[Member]:
        """List the trials of one status, in the order in which they were suggested."""
        return [member for member in self.trials.values() if member.status == status]

    def end(self, member: Member, outcome: str, what: str = "end", mark: Mark | None = None) -> Answer:
        """End a trial."""
        member.status, member.outcome = "ended", outcome
        return Answer(what, member.name, outcome, mark)

    def mark(self, epoch: int, score: float, cutoff: float | None, rank: int, of: int, bracket: int = 0) -> Mark:
        """Write down a place among others, with scores as values of the metric."""
        shown = None if cutoff is None else self.sign * cutoff
        return Mark(bracket=bracket, epoch=epoch, value=self.sign * score, cutoff=shown, rank=rank, of=of)


class Asha(Model):
    """Rungs at grace · factor^k. Whoever comes to one goes on if it is among the best 1/factor that came so far."""

    def __init__(self, spec: Experiment, slots: int) -> None:
        super().__init__(spec, slots)
        self.factor = Fraction(str(spec.scheduler.reduction_factor))
        self.last, self.grace = spec.budget.epochs, spec.scheduler.grace_epochs
        self.came: dict[tuple[int, int], list[tuple[float, Member]]] = defaultdict(list)
        """(rung, bracket) → who came, in this order, with what score."""

    def bracket(self, member: Member) -> int:
        """Find a trial's bracket: there is one."""
        return 0

    def rungs(self, bracket: int) -> list[int]:
        """List the rungs of a bracket; the last epoch is none, since nothing is left to decide there."""
        grace = round(self.grace * self.factor**bracket)
        return list(takewhile(lambda epoch: epoch < self.last, (round(grace * self.factor**k) for k in count())))

    def judge(self, member: Member, epoch: int, score: float, drawn: Clone | None) -> Answer:
        """Hold a score against the others of the highest rung that was crossed."""
        bracket = self.bracket(member)
        crossed = [rung for rung in self.rungs(bracket) if member.judged_at < rung <= epoch]
        if not crossed:
            return Answer("go", member.name)
        member.judged_at = max(crossed)
        rung = self.came[member.judged_at, bracket]
        others = sorted(other for other, _ in rung)
        rung.append((score, member))
        cutoff = others[math.ceil((len(others) - 1) * (1 - 1 / self.factor))] if others else None
        rank = 1 + sum(other > score for other in others)
        mark = self.mark(member.judged_at, score, cutoff, rank, len(rung), bracket)
        if not self.rule.promote:
            bound = self.rule.kind == "asha" and self.rule.quota and (rank - 1) * self.factor**2 >= len(rung)
            gone = sum(one.outcome != "stopped" or one.judged_at > member.judged_at for _, one in rung[:-1])
            if (cutoff is not None and score < cutoff) or (bound and gone * self.factor >= len(rung)):
                return self.end(member, "stopped", mark=mark)
            return Answer("go", member.name, mark=mark)
        # Of equals at the edge all are good enough, as when stopping.
        best = sorted([*others, score], reverse=True)[: len(rung) // self.factor]
        member.status = "running" if best and score >= best[-1] else "paused"
        return Answer("go" if member.status == "running" else "pause", member.name, mark=mark)

    def next(self) -> Member | None:
        """Find the best of those who wait at the highest rung and are among its best; of equals who came first."""
        for rung, bracket in sorted(self.came, reverse=True):
            came = sorted(self.came[rung, bracket], key=lambda entry: -entry[0])
            for _, member in came[: len(came) // self.factor]:
                if member.status == "paused" and member.judged_at == rung:
                    return member
        return None


class Hyperband(Asha):
    """Several brackets of ASHA, each with a first rung `factor` times further than the one before."""

    def bracket(self, member: Member) -> int:
        """Draw a trial's bracket: each gets about the same budget."""
        fitting = sum(1 for _ in takewhile(lambda s: self.grace * self.factor**s <= self.last, count()))
        brackets = min(self.rule.brackets or fitting, fitting)
        # Each round costs the same, and a bracket has one round more than the next: n rounds take factor^n / n trials.
        weights = [self.factor**rounds / rounds for rounds in range(fitting, fitting - brackets, -1)]
        place = chance.uniform(self.spec.seed, "bracket", member.number) * float(sum(weights))
        return next(bracket for bracket, end in enumerate(accumulate(weights)) if place < end)


class Median(Model):
    """Stop a trial whose best score so far is worse than the median of the others' means up to the same epoch."""

    def judge(self, member: Member, epoch: int, score: float, drawn: Clone | None) -> Answer:
        """Hold the trial's best against the means of the others that came as far, in whatever way they ended."""
        means = sorted(self.means(member, epoch))
        if epoch < self.rule.grace_epochs or len(means) < self.rule.min_trials:
            return Answer("go", member.name)
        middle = means[(len(means) - 1) // 2], means[len(means) // 2]
        median = middle[0] if middle[0] == middle[1] else sum(middle) / 2
        best = max(score for _, score in member.scores)
        mark = self.mark(epoch, score, median, 1 + sum(mean > best for mean in means), len(means) + 1)
        return self.end(member, "stopped", mark=mark) if best < median else Answer("go", member.name, mark=mark)

    def means(self, member: Member, epoch: int) -> Iterator[float]:
        """Compute the others' means since the grace: exactly, and rounded once."""
        for other in self.trials.values():
            scores = [Fraction(score) for at, score in other.scores if self.rule.grace_epochs <= at <= epoch]
            if other is not member and other.epoch >= epoch and scores:
                yield float(sum(scores) / len(scores))


class Pbt(Model):
    """At each interval the worst of the population clone the best; with fewer slots than members all take turns."""

    def judge(self, member: Member, epoch: int, score: float, drawn: Clone | None) -> Answer:
        """Compare a member with the scores that the others had when they were compared last."""
        interval = self.rule.interval_epochs
        # A clone that fell back is not compared before it is further than ever.
        if epoch // interval <= max(member.judged_at, member.began_at) // interval:
            return Answer("go", member.name)
        member.judged_at, member.judged = epoch, score
        alive = [one for one in self.trials.values() if one.status != "ended" and one.judged is not None]
        order = sorted(alive, key=lambda one: (one.judged, one.number))
        size = min(math.ceil(len(order) * Fraction(str(self.rule.quantile))), len(order) // 2)
        place, edge = order.index(member), order[size].judged if size else None
        mark = self.mark(epoch, score, edge, len(order) - place, len(order))
        turns = self.spec.budget.trials > self.slots
        member.status = "paused" if turns else "running"
        if place < size and self.clones(member, order[len(order) - size :], drawn):
            return Answer("pause" if turns else "clone", member.name, mark=mark)
        assert place < size or drawn is None, "only the worst clone"
        return Answer("pause" if turns else "go", member.name, mark=mark)

    def clones(self, member: Member, best: list[Member], drawn: Clone | None) -> bool:
        """Check a clone and enter it; it may be refused where the donor may be one without a checkpoint."""
        if drawn is None:
            assert any(one.checkpoint is None for one in best), "the worst must clone"
            return False
        donor = next((one for one in best if one.name == drawn.donor), None)
        assert donor is not None, "the donor must be one of the best"
        assert (drawn.checkpoint, drawn.epoch) == donor.checkpoint
        check_mutation(self.spec, donor.params, drawn)
        member.generation += 1
        member.checkpoint, member.params = donor.checkpoint, drawn.params
        member.epoch = member.began_at = drawn.epoch
        return True

    def next(self) -> Member | None:
        """Find the paused member that is furthest behind, once all members are there."""
        paused = self.having("paused") if len(self.trials) == self.spec.budget.trials else []
        return min(paused, key=lambda one: (one.epoch, one.number), default=None)


def check_mutation(spec: Experiment, donor: Mapping[str, Any], clone: Clone) -> None:
    """Check that a clone's params lie in the space, and that only what may change has changed."""
    new, rule = clone.params, spec.scheduler
    assert set(new) == {name for name, dimension in spec.space.items() if dimension.active(new)}
    choices = {name: dimension for name, dimension in spec.space.items() if isinstance(dimension, Choice)}
    assert clone.choices == {name: one.index(new[name]) for name, one in choices.items() if name in new}
    mutable = set(spec.space) - set(choices) if rule.mutate is None else set(rule.mutate)
    for name, value in new.items():
        assert spec.space[name].contains(value)
        if name in donor and name not in mutable:
            assert value == donor[name]
        elif name in donor and rule.resample == 0:
            assert perturbed(spec.space[name], donor[name], value)


def perturbed(dimension: Float | Int | Choice, old: Any, new: Any) -> bool:
    """Tell whether a number was changed by a fifth, up to bounds and steps, or a choice by one place."""
    if isinstance(dimension, Choice):
        here, there = dimension.index(old), dimension.index(new)
        return abs(here - there) == 1 or (here == there and here in (0, len(dimension.values) - 1))
    half = (dimension.step or 0) / 2 * (1 + 1e-9)
    for share in (0.8, 1.2):
        wished = old * share
        if dimension.step is not None and abs(wished - old) <= half:  # too little to see: one step then
            wished = old + math.copysign(dimension.step, share - 1)
        if abs(new - min(max(wished, dimension.low), dimension.high)) <= half:
            return True
    return False


MODELS = {"none": Model, "asha": Asha, "hyperband": Hyperband, "median": Median, "pbt": Pbt}
