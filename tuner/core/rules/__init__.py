"""The rules that say which trials go on: one file each, chosen by `scheduler.kind`."""

from __future__ import annotations

from tuner.core.rules.asha import Asha
from tuner.core.rules.everything import Everything
from tuner.core.rules.hyperband import Hyperband
from tuner.core.rules.median import Median
from tuner.core.rules.pbt import Pbt
from tuner.core.rules.rule import Rule
from tuner.spec import experiment as spec

__all__ = ["Rule", "make_rule"]


def make_rule(experiment: spec.Experiment) -> Rule:
    """Build the rule that the spec names."""
    scheduler = experiment.scheduler
    if isinstance(scheduler, spec.Asha):
        return Asha(experiment, scheduler)
    if isinstance(scheduler, spec.Hyperband):
        return Hyperband(experiment, scheduler)
    if isinstance(scheduler, spec.Median):
        return Median(experiment, scheduler)
    if isinstance(scheduler, spec.Pbt):
        return Pbt(experiment, scheduler)
    return Everything()
