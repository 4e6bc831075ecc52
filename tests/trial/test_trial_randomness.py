"""What a trial draws: seeded whatever is imported when, new after a clone, and saved under plain names."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tuner import Trial
from tuner.errors import UserError
from tuner.trial import checkpoint

from .study import assignment, goes_on, run

LATE = """
from tuner.trial.randomness import seed_all
seed_all(5)
import sys
assert not {"numpy", "torch"} & sys.modules.keys()
import numpy, torch
print(numpy.random.rand(), torch.rand(1).item())
"""
EARLY = (
    LATE.replace("import numpy, torch", "")
    .replace("seed_all(5)", "import numpy, torch; seed_all(5)")
    .replace('assert not {"numpy", "torch"} & sys.modules.keys()', "")
)


@pytest.mark.slow
def test_what_a_function_imports_in_its_body_is_seeded_too() -> None:
    late, early = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for code in (LATE, EARLY)
    )
    assert late == early != ""


def test_a_clone_sees_other_batches_and_draws_other_numbers_than_in_its_first_epochs(tmp_path: Path) -> None:
    seen: list[tuple[list[int], float]] = []

    def train(trial: Trial) -> None:
        model = nn.Linear(1, 1)
        loader = DataLoader(range(50), batch_size=10, shuffle=True, generator=torch.Generator().manual_seed(trial.seed))
        trial.track(model=model)
        for _ in trial.epochs():
            seen.append((torch.cat(list(trial.batches(loader))).tolist(), torch.rand(1).item()))
            trial.report(loss=1)

    given = assignment(tmp_path)
    donor = run(train, given, last=2)
    first = seen[:2]
    clone = replace(goes_on(given, donor, cloned=True), generation=1)
    again = run(train, clone, last=3)
    assert seen[2] not in first
    assert seen[2][1] not in [number for _, number in first]
    whole = run(train, clone)
    assert len(whole.epochs) == 2
    resumed = replace(goes_on(clone, again), cloned=False)
    run(train, resumed)
    assert seen[-1] == seen[-2], "a clone that was cut off goes on as the whole one does"


def test_a_group_that_comes_after_track_costs_no_epoch_and_says_so_when_resumed(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
        steps = torch.optim.SGD(model[1].parameters(), lr=0.1)
        trial.track(model=model, steps=steps)
        for epoch in trial.epochs():
            if epoch == 2:
                steps.add_param_group({"params": list(model[0].parameters()), "lr": 0.01})
            trial.report(loss=1)

    given = assignment(tmp_path)
    heard = run(train, given, last=3)
    assert heard.epochs == [1, 2, 3]
    with pytest.raises(UserError, match=r"as in its checkpoint \(2\), but got 1\. Make all groups before trial\.track"):
        run(train, goes_on(given, heard))


def test_a_clone_that_is_cut_off_draws_what_the_whole_one_draws_from_seeds_of_each_epoch(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def train(trial: Trial) -> None:
        trial.track(model=nn.Linear(1, 1))
        for epoch in trial.epochs():
            generator = torch.Generator().manual_seed(trial.seed + epoch)
            loader = DataLoader(range(50), batch_size=10, shuffle=True, generator=generator)
            seen.append(torch.cat(list(trial.batches(loader))).tolist())
            trial.report(loss=1)

    given = assignment(tmp_path, epochs=6)
    donor = run(train, given, last=2)
    clone = replace(goes_on(given, donor, cloned=True), generation=1)
    run(train, clone)
    whole = seen[2:]
    cut = run(train, clone, last=4)
    run(train, replace(goes_on(clone, cut), cloned=False))
    assert [*seen[6:8], *seen[8:]] == whole


class Two(torch.optim.Optimizer):
    """Two optimizers in one, with a state of its own form."""

    def __init__(self, model: nn.Linear) -> None:
        self.parts = [torch.optim.SGD([one], lr=0.1, momentum=0.9) for one in model.parameters()]
        super().__init__(model.parameters(), {})

    def state_dict(self) -> dict[str, object]:
        return {str(i): one.state_dict() for i, one in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        for i, one in enumerate(self.parts):
            one.load_state_dict(state[str(i)])


def test_an_optimizer_of_the_users_own_form_and_a_model_with_a_compiled_part_are_restored(tmp_path: Path) -> None:
    weights: list[torch.Tensor] = []

    def train(trial: Trial) -> None:
        model = nn.Sequential(torch.compile(nn.Linear(2, 2)), nn.Linear(2, 2))
        weights.append(model[0].weight)
        trial.track(model=model, steps=Two(model[1]))
        for _ in trial.epochs():
            with torch.no_grad():
                model[0].weight += 1
            trial.report(loss=1)

    given = assignment(tmp_path)
    heard = run(train, given, last=2)
    after = weights[0].clone()
    run(train, goes_on(given, heard), last=3)
    torch.testing.assert_close(weights[1], after + 1)


def test_a_compiled_model_is_saved_under_the_names_of_the_model(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.track(model=torch.compile(nn.Linear(2, 2)))
        for _ in trial.epochs():
            trial.report(loss=1)

    heard = run(train, assignment(tmp_path), last=1)
    state = checkpoint.load(tmp_path / str(heard.checkpoints[-1]), "model")
    assert state is not None
    nn.Linear(2, 2).load_state_dict(state)
