"""No scheduler: every trial runs to its last epoch, unless it diverges."""

from __future__ import annotations

import math

from .experiments import Hand, experiment


def test_the_worst_goes_on_to_the_last_epoch() -> None:
    run = Hand(experiment(budget={"trials": 3, "epochs": 3}))
    good, bad, broken = run.start(3)
    for epoch in (1, 2):
        run.report(good, epoch, 1.0)
        decision = run.report(bad, epoch, -1e9)
        assert (decision.action, decision.mark, decision.clone) == ("go", None, None)
    assert run.report(broken, 1, math.nan).outcome == "diverged"
    assert run.report(bad, 3, -1e9).outcome == "finished"
    assert run.core.rule.next(run.core.run) is None
    assert run.core.rule.saved_epochs() == frozenset()
