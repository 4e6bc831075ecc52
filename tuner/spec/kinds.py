"""The kinds of search and of scheduler, each with its own keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tuner.spec.model import Finite, Model
from tuner.spec.objective import AnyBy


class Search(Model):
    """What all kinds of search have."""

    seed: int | None = Field(default=None, ge=0)
    """Overrides the run's `seed` for the search alone."""


class Tpe(Search):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate, from Optuna."""

    kind: Literal["tpe"] = "tpe"
    """Which searcher."""
    startup: int = Field(default=10, ge=1)
    """Trials that have ended before the model is used; those that begin until then are random."""


class Gp(Search):
    """Gaussian process with log expected improvement, from Optuna."""

    kind: Literal["gp"]
    """Which searcher."""
    startup: int = Field(default=10, ge=1)
    """Trials that have ended before the model is used; those that begin until then are random."""


class Cmaes(Search):
    """CMA-ES (Hansen 2001), from Optuna; no choices, no conditions."""

    kind: Literal["cmaes"]
    """Which searcher."""
    startup: int = Field(default=1, ge=1)
    """Trials that have ended before the strategy starts; those that begin until then are random."""
    sigma: Finite | None = Field(default=None, gt=0)
    """Initial standard deviation, as a share of each range; a sixth by default."""


class Nsga2(Search):
    """NSGA-II (Deb et al. 2002), a genetic algorithm for several objectives, from Optuna."""

    kind: Literal["nsga2"]
    """Which searcher."""
    population: int = Field(default=20, ge=2)
    """Trials of a generation; those of the first are random."""


class Qmc(Search):
    """Quasi-random points that cover the space evenly, from Optuna; no conditions."""

    kind: Literal["qmc"]
    """Which searcher."""
    sequence: Literal["sobol", "halton"] = "sobol"
    """Which low-discrepancy sequence."""


class Random(Search):
    """Independent random points."""

    kind: Literal["random"]
    """Which searcher."""


class Grid(Search):
    """Every point of a grid once, in a random order; no conditions."""

    kind: Literal["grid"]
    """Which searcher."""


class AutoSearch(Search):
    """Freeze-thaw: one model over params and epochs chooses new trials and which paused ones go on."""

    kind: Literal["auto"]
    """Which searcher; it is the scheduler too."""
    epochs: int | None = Field(default=None, ge=1)
    """Epochs of all trials together; by default as many as `asha` would train."""


SomeSearch = AutoSearch | Tpe | Gp | Cmaes | Nsga2 | Qmc | Random | Grid
AnySearch = Annotated[SomeSearch, Field(discriminator="kind")]


class Asha(Model):
    """Asynchronous successive halving (Li et al. 2020)."""

    kind: Literal["asha"] = "asha"
    """Which scheduler."""
    grace_epochs: int = Field(default=1, ge=1)
    """Epochs of the first rung."""
    reduction_factor: Finite = Field(default=3, gt=1)
    """One in so many goes on from each rung, and rungs lie this factor apart."""
    promote: bool = False
    """Pause at each rung and continue the best, instead of stopping the worst."""
    quota: bool = True
    """Once one in `reduction_factor` went on from a rung, only the best one in its square do; for one objective."""
    by: AnyBy | None = None
    """With several objectives: `nondomination`, or a mapping with a weight for each of their metrics."""


class Hyperband(Model):
    """Hyperband (Li et al. 2018) with asynchronous brackets: ASHA with several grace periods."""

    kind: Literal["hyperband"]
    """Which scheduler."""
    grace_epochs: int = Field(default=1, ge=1)
    """Epochs of the first rung of the most aggressive bracket."""
    reduction_factor: Finite = Field(default=3, gt=1)
    """One in so many goes on from each rung, and rungs lie this factor apart."""
    brackets: int | None = Field(default=None, ge=1)
    """How many brackets; as many as fit by default."""
    promote: bool = False
    """Pause at each rung and continue the best, instead of stopping the worst."""
    by: AnyBy | None = None
    """With several objectives: `nondomination`, or a mapping with a weight for each of their metrics."""


class Median(Model):
    """Median stopping rule (Golovin et al. 2017)."""

    kind: Literal["median"]
    """Which scheduler."""
    grace_epochs: int = Field(default=1, ge=1)
    """Epochs before a trial can be stopped."""
    min_trials: int = Field(default=3, ge=1)
    """How many other trials must have got as far."""


class Pbt(Model):
    """Population based training (Jaderberg et al. 2017)."""

    kind: Literal["pbt"]
    """Which scheduler."""
    interval_epochs: int = Field(default=1, ge=1)
    """Epochs between two comparisons of a member with the population."""
    quantile: Finite = Field(default=0.25, gt=0, le=0.5)
    """The lowest share copies from the highest share."""
    resample: Finite = Field(default=0.25, ge=0, le=1)
    """Probability that a copied parameter is drawn anew instead of perturbed by a factor of 0.8 or 1.2."""
    mutate: list[str] | None = None
    """Parameters that a copy changes; all numbers of `space` by default. Leave out what shapes the model."""
    by: AnyBy | None = None
    """With several objectives: `nondomination`, or a mapping with a weight for each of their metrics."""


class AutoScheduler(Model):
    """What belongs to `search: {kind: auto}`, which decides which trials go on, too."""

    kind: Literal["auto"]
    """Which scheduler."""


class NoScheduler(Model):
    """Every trial runs to its last epoch."""

    kind: Literal["none"]
    """Which scheduler."""


SomeScheduler = AutoScheduler | Asha | Hyperband | Median | Pbt | NoScheduler
AnyScheduler = Annotated[SomeScheduler, Field(discriminator="kind")]
