"""The best of a run is taken away: `best/` alone, in another process, in another folder, in other formats."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from ast import literal_eval
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from played import trained
from rich.console import Console
from safetensors.torch import load_model
from support import environment

import tuner
from tuner.api import to_code
from tuner.engine.evaluate import Model, read_best, stint
from tuner.engine.formats import write_formats
from tuner.errors import UserError
from tuner.outputs import results
from tuner.outputs.farewell import farewell
from tuner.spec import bind
from tuner.trial import checkpoint, formats

pytestmark = pytest.mark.slow

SOURCE = """
    import torch
    from torch import nn

    class Normalize:
        def __init__(self): self.mean = 0.0
        def __call__(self, x): return x - self.mean
        def state_dict(self): return {"mean": self.mean}
        def load_state_dict(self, state): self.mean = state["mean"]

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight
            self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout(0.5)
        def forward(self, x): return self.second(self.drop(self.norm(self.first(x))))

    class Closed(nn.Linear):
        def forward(self, x): return super().forward(x) * (1 if x.sum().item() > 0 else 2)

    def fit(trial, models, x):
        normalize = Normalize()
        steps = torch.optim.SGD([p for model in models.values() for p in model.parameters()], lr=trial.params["x"])
        trial.example(torch.zeros(2, 3) + 1)
        trial.track(optimizer=steps, normalize=normalize, **models)
        normalize.mean = 2.5
        trial.test(lambda: 1 / 0)
        for epoch in trial.epochs():
            loss = sum(model(normalize(torch.randn(8, 3))).square().mean() for model in models.values())
            steps.zero_grad()
            loss.backward()
            steps.step()
            print("trained")
            trial.report(score=-x * epoch)

    def train(trial, *, x, batch_size, dataset="noise"): fit(trial, {"net": Tied()}, x)
    def two(trial, *, x, batch_size): fit(trial, {"encoder": Tied(), "head": Tied()}, x)
    def closed(trial, *, x, batch_size): fit(trial, {"model": Closed(3, 3)}, x)
    def none(trial, *, x, batch_size):
        trial.track(normalize=Normalize())
        for epoch in trial.epochs(): trial.report(score=x)
"""
USE = """
import json, sys, torch, tuner
state = torch.get_rng_state()
net, normalize = tuner.load_best(sys.argv[1], "net", "normalize")
assert torch.equal(state, torch.get_rng_state())
print(json.dumps([net.training, net(normalize(torch.arange(15.).view(5, 3))).tolist()]))
"""


def run_of(home: Path, function: str) -> Path:
    """Train a run of two trials by a module in `home`, and write what a driver writes at its end."""
    (home / "noisy.py").write_text(textwrap.dedent(SOURCE))
    code = to_code(bind.find(f"noisy.py:{function}", home).trainable)
    folder = home / function
    folder.mkdir()
    fixed = {"batch_size": 8, **({"dataset": "noise"} if function == "train" else {})}
    budget = {"trials": 2, "epochs": 3}
    trained(folder, code.load(), trainable=f"noisy.py:{function}", budget=budget, fixed=fixed, home=str(home))
    if function == "train":
        state = results.read_state(folder)
        model = read_best(folder, state, print)
        assert model is not None
        assert write_formats(folder, state, model, code) == []
    results.write(folder, results.read_state(folder), "finished")
    return folder


Runs = Callable[[str], Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Give a finished run of a function of the module, made once."""
    home = tmp_path_factory.mktemp("home")
    return cache(partial(run_of, home))


def expected(run: Path, inputs: torch.Tensor) -> torch.Tensor:
    """Compute what the best model of a run gives, from its checkpoint and its own class."""
    best = results.read_state(run).best_saved
    assert best is not None and best.checkpoint is not None
    net = sys.modules["noisy"].Tied().eval()
    net.load_state_dict(checkpoint.load(run / best.checkpoint, "net"))
    return net(inputs)


INPUTS = torch.arange(15.0).view(5, 3) - 2.5


def test_a_copied_best_is_used_in_a_new_process(runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs("train") / "best", tmp_path / "elsewhere")
    manifest = json.loads((tmp_path / "elsewhere" / "manifest.json").read_text())
    (tmp_path / "elsewhere" / "manifest.json").write_text(json.dumps({**manifest, "home": "/no/such/folder"}))
    shutil.copy(runs("train").parent / "noisy.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", USE, "elsewhere"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    training, outputs = json.loads(done.stdout)
    assert not training
    assert torch.equal(torch.tensor(outputs), expected(runs("train"), INPUTS))


def test_what_is_taken_away_asks_for_no_gpu(runs: Runs) -> None:
    state = results.read_state(runs("train"))
    state.spec = state.spec.with_parts({"resources": {"gpus": 1}})
    assert state.chosen is not None
    asked = partial(stint, runs("train"), state, state.chosen)
    assert (asked("take").gpus, asked("test").gpus) == (0, 1)


def test_a_checkpoint_that_names_no_kinds_has_no_other_formats(runs: Runs, tmp_path: Path) -> None:
    """As those were that an earlier version wrote."""
    copy = Path(shutil.copytree(runs("train"), tmp_path / "old"))
    (copy / "best" / "formats.json").unlink()
    state = results.read_state(copy)
    assert state.best_saved is not None and state.best_saved.checkpoint is not None
    file = copy / state.best_saved.checkpoint / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["kinds"]
    code = to_code(bind.find("noisy.py:train", runs("train").parent).trainable)
    assert write_formats(copy, state, Model(state.best_saved, manifest), code) == []
    assert not (copy / "best" / "formats.json").exists()


def test_other_formats_hold_the_same_model(runs: Runs) -> None:
    run = runs("train")
    best, meant = run / "best", expected(run, INPUTS)
    tied = sys.modules["noisy"].Tied().eval()
    load_model(tied, str(best / "model.safetensors"))
    assert (best / "model.safetensors").stat().st_mode == (best / "model.pt").stat().st_mode
    assert torch.equal(tied(INPUTS), meant)
    program = torch.export.load(best / "model.pt2").module()
    torch.testing.assert_close(program(INPUTS), meant)
    assert set(torch.load(best / "model.pt", weights_only=True)) == set(tied.state_dict())


def test_the_card_is_read_by_the_hub(runs: Runs) -> None:
    run = runs("train")
    best = results.read_state(run).best
    assert best is not None
    (run / "best" / "test.json").write_text(json.dumps({"checkpoint": best.checkpoint, "metrics": {"accuracy": 0.5}}))
    results.write(run, results.read_state(run), "finished")
    card = ModelCard.load(run / "best" / "README.md")
    assert card.data.eval_results is not None
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in card.data.eval_results] == [
        ("noise", "score", best.value), ("noise", "accuracy", 0.5),
    ]  # fmt: skip
    for text in ("`model.safetensors`", "`model.pt2`", "`normalize.pt`", "among 2 trials", "optimistic", "git commit",
                 "measured when this model was chosen", "seed of the run 0"):  # fmt: skip
        assert text in card.text
    assert "no `" not in card.text


def test_several_models_come_by_name(runs: Runs) -> None:
    models = tuner.load_best(runs("two"))
    assert list(models) == ["encoder", "head"]
    assert not any(model.training for model in models.values())
    assert {path.name for path in (runs("two") / "best").glob("*.pt")} == {"encoder.pt", "head.pt", "normalize.pt"}
    assert tuner.load_best(runs("two"), "normalize").mean == 2.5
    assert tuner.load_best(f"file://{runs('two')}", "normalize").mean == 2.5


def test_a_model_that_cannot_be_exported_is_told_and_costs_nothing_else(runs: Runs) -> None:
    run = runs("closed")
    state = results.read_state(run)
    best = state.best_saved
    assert best is not None
    facts = formats.write(sys.modules["noisy"].closed, stint(run, state, best, "take"))
    assert facts["written"] == ["model.safetensors"]
    assert list(facts["problems"]) == ["model.pt2"]
    facts["checkpoint"] = best.checkpoint
    (run / "best" / "formats.json").write_text(json.dumps(facts))
    results.write(run, results.read_state(run), "finished")
    card = (run / "best" / "README.md").read_text()
    assert f"no `model.pt2`: {facts['problems']['model.pt2']}" in card
    assert not list((run / "best").glob(".*"))


def test_a_function_that_tracks_no_model_is_told(runs: Runs) -> None:
    run = runs("none")
    with pytest.raises(UserError, match="must hold a model, but the trainable tracked none"):
        tuner.load_best(run)
    assert tuner.load_best(run, "normalize").mean == 0.0
    assert "no model: the trainable tracks none" in (run / "best" / "README.md").read_text()
    console = Console(record=True, width=200)
    farewell(run, results.read_state(run), console)
    assert "none: the trainable tracks no model" in console.export_text()


def test_a_torn_checkpoint_of_the_best_costs_the_model_alone(runs: Runs, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs("two"), tmp_path / "torn"))
    state, said = results.read_state(run), list[str]()
    assert state.best_saved is not None and state.best_saved.checkpoint is not None
    (run / state.best_saved.checkpoint / "manifest.json").write_text("{")
    results.write(run, state, "finished", said.append)
    assert "best/ keeps what was copied of it earlier" in said[0]
    assert (run / "best" / "encoder.pt").exists()
    for name in ("best/manifest.json", "summary.json", "leaderboard.csv"):
        (run / name).unlink()
    results.write(run, state, "finished", said.append)
    assert "best/ holds no model: " in said[1] and "must hold a whole checkpoint" in said[1]
    assert (run / "summary.json").exists() and (run / "leaderboard.csv").exists()
    assert not list((run / "best").glob("*.pt"))
    assert "the checkpoint of the best cannot be read" in (run / "best" / "README.md").read_text()
    console = Console(record=True, width=200)
    farewell(run, state, console)
    assert "none: its checkpoint cannot be read" in console.export_text()
    with pytest.raises(UserError, match="must hold the best model, but there is none yet"):
        tuner.load_best(run)


def test_the_printed_call_finds_the_run_wherever_it_is_stored(runs: Runs) -> None:
    console = Console(record=True, width=300)
    farewell(runs("train"), results.read_state(runs("train")), console)
    call = console.export_text().split("tuner.load_best(")[1].split(")")[0]
    assert not tuner.load_best(literal_eval(call)).training


def test_what_cannot_be_loaded_is_told(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (young := tmp_path / "young").mkdir()
    shutil.copy(runs("train") / "ledger", young)
    with pytest.raises(UserError, match="must hold the best model, but there is none yet"):
        tuner.load_best(young)
    with pytest.raises(UserError, match="must hold optimizer, but holds normalize, net"):
        tuner.load_best(runs("train"), "optimizer")
    copy = Path(shutil.copytree(runs("train") / "best", tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "home": "/no/such/folder"}))
    with pytest.raises(UserError, match="must be a function that can be imported"):
        tuner.load_best(copy)
    assert tuner.load_best(copy, trainable=sys.modules["noisy"].train).training is False
    with pytest.raises(UserError, match="must get net before training begins"):
        tuner.load_best(copy, trainable=lambda trial, **params: trial.report(score=1))
    with pytest.raises(ZeroDivisionError) as failure:
        tuner.load_best(copy, trainable=lambda trial, **params: 1 / 0)
    assert "run up to its trial.track" in failure.value.__notes__[0]
    with pytest.raises(ZeroDivisionError) as failure:
        tuner.load_best(copy, trainable=partial(lambda trial, by, **params: 1 / by, by=0))
    assert "raised by functools.partial(" in failure.value.__notes__[0]
    best = results.read_state(runs("train")).best_saved
    assert best is not None and best.checkpoint is not None
    with pytest.raises(UserError, match=r"manifest.json: must be the manifest of a best model, but holds only "):
        tuner.load_best(runs("train") / best.checkpoint)
    (copy / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    with pytest.raises(UserError, match=r"manifest.json: version: must be 1, which this version of tuner reads"):
        tuner.load_best(copy)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with (copy / "model.pt").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="must be as it was written"):
        tuner.load_best(copy, trainable=sys.modules["noisy"].train)
