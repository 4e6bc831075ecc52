"""Out of memory: smaller batches, then more of a GPU, then the sampler learns where the boundary is."""

from __future__ import annotations

from typing import Any

from tuner.audit import audit
from tuner.core.events import Failed, Free
from tuner.core.records import Ended, Given, Lost, Suggested
from tuner.core.search.kinds import make_asker

from .experiments import Hand, experiment, rebuilt

SPEC: dict[str, Any] = {"budget": {"trials": 60, "epochs": 2}, "scheduler": {"kind": "none"}}


def too_much(name: str, splits: bool = False) -> Failed:
    return Failed(trial=name, outcome="infeasible", reason="out of memory: 3 GiB", error="Traceback", splits=splits)


def test_batches_are_halved_once_then_the_share_is_doubled_until_there_is_no_more() -> None:
    run = Hand(experiment(**SPEC))
    record = run.do(Free())
    assert isinstance(record, Suggested)
    a = record.trial
    run.take(Given(trial=a, cpus=1, gpus=0.25))
    half = run.do(too_much(a, splits=True))
    assert isinstance(half, Lost)
    assert (half.cause, half.parts, half.least_gpus) == ("memory", 2, 0.0)
    assert half.reason == "out of memory: 3 GiB; its batches come in two parts now"
    for share in (0.5, 1.0):
        more = run.do(too_much(a, splits=True))
        assert isinstance(more, Lost)
        assert (more.parts, more.least_gpus) == (0, share)
        run.take(Given(trial=a, cpus=1, gpus=share))
    assert (run.trial(a).parts, run.trial(a).least_gpus) == (2, 1.0)
    end = run.do(too_much(a, splits=True))
    assert isinstance(end, Ended)
    assert (end.outcome, end.reason) == ("infeasible", "out of memory: 3 GiB")
    assert rebuilt(run.spec, run.records).run.trials[a] == run.trial(a)
    found = audit(run.records, {})
    assert (found.difference, found.decided) == ("", 4)


def test_without_a_gpu_and_without_batches_there_is_nothing_to_try() -> None:
    run = Hand(experiment(**SPEC))
    (a,) = run.start(1)
    assert isinstance(run.do(too_much(a)), Ended)


def out_of_memory(outcome: Any, seed: int) -> int:
    """Count the trials of sixty that run out of memory, where good values lie beside the boundary."""
    run = Hand(experiment(**SPEC, search={"kind": "tpe", "startup": 10}, seed=seed))
    while isinstance(record := run.do(Free()), Suggested):
        x = record.params["x"]
        if x > 0.6:
            run.do(Failed(trial=record.trial, outcome=outcome, reason="out of memory"))
        else:
            run.report(record.trial, 2, x)
    return sum(trial.outcome == outcome for trial in run.core.run.trials.values())


def test_the_sampler_keeps_away_from_where_memory_ended() -> None:
    told = sum(out_of_memory("infeasible", seed) for seed in range(3))
    untold = sum(out_of_memory("failed", seed) for seed in range(3))
    assert told < 0.7 * untold, (told, untold)


def test_a_study_that_was_rebuilt_knows_the_boundary_too() -> None:
    spec = experiment(**SPEC, search={"kind": "tpe", "startup": 3})
    run = Hand(spec)
    for _ in range(12):
        record = run.do(Free())
        assert isinstance(record, Suggested)
        run.do(too_much(record.trial)) if record.params["x"] > 0.5 else run.report(record.trial, 2, record.params["x"])
    asker = make_asker(spec)
    for record in run.records:
        asker.observe(record)
    assert run.core.decide(Free()).params == asker.ask(12).params  # type: ignore[union-attr]
