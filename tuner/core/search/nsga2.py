"""NSGA-II (Deb et al. 2002): each generation is bred from the best of all before it."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from tuner.core import chance
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Nsga2

PARENTS = "nsga2:parents"
TRIES = 20
"""So often a child is bred anew that would be a copy of a trial: in training it would teach nothing."""


class _Written(NSGAIISampler):
    """Keeps the parents of a generation with the first trial that was bred from them.

    They are chosen once, from all that was finished by then. Optuna keeps them in the study, which a rebuilt one lacks;
    what is kept with a trial stands in the ledger.
    """

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        generation = self.get_trial_generation(study, trial)
        if generation and self._known(study, generation) is None:
            chosen = [parent.number for parent in self.select_parent(study, generation)]
            study._storage.set_trial_system_attr(trial._trial_id, PARENTS, chosen)
        known = [other.params for other in study._get_trials(deepcopy=False)]
        for _ in range(TRIES):
            child = super().sample_relative(study, trial, search_space)
            if len(child) < len(search_space) or not any(child.items() <= params.items() for params in known):
                break  # what the child lacks is a mutation, drawn at random
        return child

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        if generation == 0:
            return []
        known = self._known(study, generation)
        assert known is not None, "its first trial has them"
        trials = study._get_trials(deepcopy=False)
        return [trials[number] for number in known]

    def _known(self, study: Study, generation: int) -> list[int] | None:
        for trial in study._get_trials(deepcopy=False):
            attributes = trial.system_attrs
            if PARENTS in attributes and attributes.get(self._get_generation_key()) == generation:
                found: list[int] = attributes[PARENTS]
                return found
        return None


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler of trial `number`; until a generation is complete it goes on breeding from the one before."""
    assert isinstance(spec.search, Nsga2)
    seed = chance.integer(spec.search_seed, "search", number)
    return _Written(population_size=spec.search.population, seed=seed)
