"""A winner that holds: the best trials again on fresh seeds, the clear losers among them dropped early.

It is a race (Birattari et al. 2002): seed by seed over the candidates; and after each seed that all living ones have
finished a one-sided paired t-test of each against the leader. All is told from the state alone, so a larger `top`, more
seeds or a larger budget only add to what is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.core import standing
from tuner.core.records import GO, Decision, Promoted, Record, Repeated, Report, repeat_id
from tuner.core.student import error_of_mean, mean, upper_tail
from tuner.core.trial import Best, TrialState

if TYPE_CHECKING:
    from tuner.core.state import RunState

VERSION = 2
"""Raised whenever the same records would be answered differently."""
ALPHA = 0.05
"""The chance to drop one that is as good as the leader, over all that are held against it at one seed."""
LEAST = 3
"""So many seeds before anyone is dropped: two differences have one degree of freedom, and lie close to each other too
often by chance."""
RESOLUTION = 1e-6
"""A smaller spread of the differences, as a part of the largest score, is rounding and tells nothing."""
WORST = ("diverged", "failed", "infeasible", "stalled")
"""Ends after which a repeat counts as the worst, and a trial is no candidate."""
NONE = ("lost", "killed")
"""Ends that say nothing of the params: a repeat counts for nothing then. A trial is no candidate either."""


@dataclass(slots=True)
class Race:
    """How a confirmation stands."""

    candidates: list[TrialState]
    """The best trials of the search, the best first."""
    dropped: dict[str, str] = field(default_factory=dict)
    """The candidates that are out of it, and why."""

    @property
    def living(self) -> list[TrialState]:
        """Those that are still in it, the best of the search first."""
        return [trial for trial in self.candidates if trial.id not in self.dropped]


def candidates(run: RunState) -> list[TrialState]:
    """Find the trials that are repeated: the best by their best value, each set of params once."""
    if run.spec.confirm is None:
        return []
    found = list[TrialState]()
    good = [trial for trial in run.trials.values() if _is_good(trial)]
    for trial in sorted(good, key=lambda trial: -trial.score):  # stable: of equals the one that was suggested first
        if all(trial.params != other.params for other in found):
            found.append(trial)
        if len(found) == run.spec.confirm.top:
            break
    return found


def _is_good(trial: TrialState) -> bool:
    """Tell whether a trial has a result, and nothing but the run's own end has ended it before its time."""
    if trial.best is None or trial.violation:
        return False
    return bool(trial.before) or trial.outcome not in (*WORST, *NONE)


def race(run: RunState) -> Race:
    """Play the race, seed by seed, as far as the living candidates have finished their seeds."""
    confirm, found = run.spec.confirm, Race(candidates(run))
    if confirm is None or not found.candidates:
        return found
    common: list[dict[str, float]] = []
    for seed in range(1, confirm.seeds):  # after the last seed there is nothing to save
        repeats = {trial.id: run.repeats.get(repeat_id(trial.id, seed)) for trial in found.living}
        if not all(repeat is not None and is_settled(run, repeat) for repeat in repeats.values()):
            break
        scores = {name: score_of(run, repeat) for name, repeat in repeats.items() if repeat is not None}
        if None not in scores.values():
            common.append({name: score for name, score in scores.items() if score is not None})
        if len(common) >= LEAST:
            found.dropped.update(_losers(found, common))
    return found


def _losers(race: Race, common: list[dict[str, float]]) -> Iterator[tuple[str, str]]:
    """Find the living candidates that are clearly worse than the leader, on the seeds that all have finished."""
    scores = {trial.id: [column[trial.id] for column in common] for trial in race.living}
    leader = min(scores, key=lambda name: rank(scores[name]))
    for name, own in scores.items():
        failed, less = own.count(-math.inf), scores[leader].count(-math.inf)
        if failed > less:
            yield name, f"failed on {failed} of {len(common)} seeds, {leader} on {less}"
        elif (p := worse(own, scores[leader])) < ALPHA / max(1, len(scores) - 1):
            yield name, f"worse than {leader} on {len(common)} seeds, p {p:.2g}"


def rank(scores: list[float]) -> tuple[bool, int, float]:
    """Give what the candidates are sorted by, the best first: failures, then the mean of the other scores.

    Those without any other come last.
    """
    finite = [score for score in scores if math.isfinite(score)]
    return not finite, len(scores) - len(finite), -mean(finite) if finite else math.inf


def worse(scores: list[float], of_leader: list[float]) -> float:
    """Find the p of the paired t-test that these scores are as good as the leader's, or better.

    It is 1 where there is nothing to test: fewer than three pairs, or differences that are all the same but for
    rounding.
    """
    behind = [ahead - own for own, ahead in zip(scores, of_leader, strict=True)]
    behind = [difference for difference in behind if math.isfinite(difference)]
    if len(behind) < LEAST:
        return 1.0
    error, largest = error_of_mean(behind), max(abs(one) for one in (*scores, *of_leader) if math.isfinite(one))
    return upper_tail(mean(behind) / error, len(behind) - 1) if RESOLUTION * largest < error < math.inf else 1.0


def missing(run: RunState) -> Iterator[Record]:
    """Walk over what is still to be done: repeats that are not there, and those that have to go on."""
    living = race(run).living
    for seed in range(1, run.spec.confirm.seeds + 1 if run.spec.confirm else 1):
        for trial in living:
            name = repeat_id(trial.id, seed)
            repeat = run.repeats.get(name)
            if repeat is None:
                yield Repeated(trial=name, of=trial.id, seed=seed, params=trial.params, choices=trial.choices)
            elif is_cut_short(run, repeat):
                yield Promoted(trial=name, reason=f"goes on after epoch {repeat.epoch}")


def next_record(run: RunState) -> Record | None:
    """Find what is to be done next, once the search is over; None where nothing is, or the run was ended before."""
    return None if run.closed in ("hours", "asked") else next(missing(run), None)


def judge(run: RunState, repeat: TrialState) -> Decision:
    """Decide on a finite report of a repeat before its last epoch: it ends where its trial is out of the race."""
    found = race(run)
    if repeat.of in found.dropped:
        return Decision(action="end", outcome="stopped", reason=f"{repeat.of} is dropped: {found.dropped[repeat.of]}")
    if all(repeat.of != trial.id for trial in found.candidates):
        reason = f"{repeat.of} is not among the best {len(found.candidates)} any more"
        return Decision(action="end", outcome="stopped", reason=reason)
    return GO


def is_cut_short(run: RunState, repeat: TrialState) -> bool:
    """Tell whether a repeat ended before the last epoch for a reason that may pass: the run's end, a smaller budget."""
    if repeat.status != "ended" or repeat.epoch >= run.spec.budget.epochs:
        return False
    return bool(repeat.before) or (repeat.outcome == "finished" and repeat.by_report)


def is_settled(run: RunState, repeat: TrialState) -> bool:
    """Tell whether nothing more will come of a repeat."""
    return repeat.status == "ended" and not is_cut_short(run, repeat)


def score_of(run: RunState, repeat: TrialState) -> float | None:
    """Find the score of a repeat that is settled: of its best epoch, or -inf; None where it counts for nothing."""
    if repeat.outcome in WORST:
        return -math.inf
    if repeat.outcome != "finished" or repeat.best is None:
        return None
    return repeat.score


def repeats_of(run: RunState, trial: str) -> list[TrialState]:
    """List the repeats of a trial, in the order of their seeds."""
    return sorted((one for one in run.repeats.values() if one.of == trial), key=lambda one: one.seed)


def scores_of(run: RunState, trial: str) -> list[float]:
    """List the scores of a trial's repeats that are settled, in the order of their seeds."""
    settled = [repeat for repeat in repeats_of(run, trial) if is_settled(run, repeat)]
    return [score for repeat in settled if (score := score_of(run, repeat)) is not None]


def winner(run: RunState) -> TrialState | None:
    """Find the trial that is best on fresh seeds; None where that is not known, or nobody asked for it."""
    if not run.repeats or is_pending(run):
        return None
    scores = {trial.id: scores_of(run, trial.id) for trial in race(run).living}
    valued = [name for name, own in scores.items() if any(map(math.isfinite, own))]
    return run.trials[min(valued, key=lambda name: rank(scores[name]))] if valued else None


def is_pending(run: RunState) -> bool:
    """Tell whether a confirmation was asked for that is not over: it goes on, or would with a larger budget."""
    return run.spec.confirm is not None and (not run.finished() or any(True for _ in missing(run)))


def chosen(run: RunState) -> Best | None:
    """Find the report whose params and model are the run's result: the winner's, else the best that is saved."""
    if (first := winner(run)) is not None:
        repeats = [repeat for repeat in repeats_of(run, first.id) if repeat.outcome == "finished"]
        reports = [r.best_saved for r in repeats if r.best_saved] or [r.best for r in repeats if r.best]
        best: Report = max(reports, key=run.standing)
        return Best(best.trial, best.epoch, run.objective(best), first.params, best.checkpoint)
    return standing.chosen(run) or run.best_saved or run.best


def most_in_phase(run: RunState) -> int:
    """Tell for how many there is work at once, at most: the trials of the search, and when it is over the repeats."""
    if run.spec.confirm is None or run.is_searching:
        return run.spec.trials
    return max(1, len(candidates(run)) * run.spec.confirm.seeds)


def repeats_left(run: RunState) -> int:
    """Count the repeats that may still begin or go on; as many as there can be while the search is not over."""
    confirm = run.spec.confirm
    if confirm is None or run.closed in ("hours", "asked"):
        return 0
    if run.is_searching:
        return confirm.top * confirm.seeds
    return sum(1 for _ in missing(run))
