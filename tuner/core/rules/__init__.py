"""The rules that say which trials go on: one file each, chosen by `scheduler.kind`."""

from __future__ import annotations

from typing import assert_never

from tuner.core.rules.asha import Asha
from tuner.core.rules.everything import Everything
from tuner.core.rules.hyperband import Hyperband
from tuner.core.rules.median import Median
from tuner.core.rules.pbt import Pbt
from tuner.core.rules.rule import NONE, Rule, Tops
from tuner.core.rules.thaw import Chooser, Thaw
from tuner.spec import kinds
from tuner.spec.experiment import Experiment

__all__ = ["Rule", "make_rule"]


def make_rule(experiment: Experiment, tops: Tops = NONE, asker: object = None) -> Rule:
    """Build the rule that the spec names.

    `tops` are those of the run, where its budget has grown; `asker` is what the run asks for params, which `auto` asks
    who goes on, too.
    """
    scheduler = experiment.scheduler
    if isinstance(scheduler, kinds.Asha):
        return Asha(experiment, scheduler, tops)
    if isinstance(scheduler, kinds.Hyperband):
        return Hyperband(experiment, scheduler, tops)
    if isinstance(scheduler, kinds.Median):
        return Median(experiment, scheduler)
    if isinstance(scheduler, kinds.Pbt):
        return Pbt(experiment, scheduler)
    if isinstance(scheduler, kinds.AutoScheduler):
        return Thaw(experiment, asker if isinstance(asker, Chooser) else None, tops)
    if isinstance(scheduler, kinds.NoScheduler):
        return Everything()
    assert_never(scheduler)
