"""Fine-tuning: what is frozen and when it thaws, rates by layer, pooling, and that a resumed run is the whole one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from heard import heard
from torch import nn

from trainables import finetune
from tuner.trial import Trial

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "text": str(tiny.text_model(folder / "bert")),
        "vit": str(tiny.vit(folder / "vit")),
        "resnet": str(tiny.resnet(folder / "resnet")),
        "csv": str(tiny.texts(folder / "texts.csv")),
    }


@pytest.fixture
def params(made: dict[str, str]) -> dict[str, Any]:
    return {"lr_head": 0.05, "lr_body": 0.01, "model": made["text"], "data": made["csv"], "batch_size": 9}


run = partial(heard, finetune.train)


def weights_of(trial: Trial) -> dict[str, torch.Tensor]:
    return trial._tracked["model"].state_dict()


@pytest.mark.parametrize("cut_after", [1, 2, 3])
def test_a_trial_that_resumes_around_its_thaw_is_the_uninterrupted_one(
    tmp_path: Path, params: dict[str, Any], cut_after: int
) -> None:
    params |= {"frozen": 2, "thaw_epoch": 3, "warmup": 0.3, "dropout": 0.2}
    whole, kept = run(tmp_path / "whole", params, epochs=4)
    cut, _ = run(tmp_path / "cut", params, last=cut_after, epochs=4)
    at = {"checkpoint": cut.paths[-1], "epoch": cut_after, "attempt": "2.0"}
    resumed, again = run(tmp_path / "cut", params, epochs=4, **at)
    assert resumed.metrics == whole.metrics[cut_after:]
    ours, theirs = weights_of(again), weights_of(kept)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("frozen", "still"),
    [(0, ()), (1, ("body.embeddings",)), (2, ("body.embeddings", "body.encoder.layer.0.")), (3, ("body.",))],
)
def test_frozen_layers_keep_their_weights_and_all_others_learn(
    tmp_path: Path, params: dict[str, Any], frozen: int, still: tuple[str, ...]
) -> None:
    params |= {"frozen": frozen, "warmup": 0.0}
    before = weights_of(run(tmp_path / "before", params, epochs=0)[1])
    after = weights_of(run(tmp_path / "after", params, epochs=1)[1])
    kept = {name for name in after if torch.equal(before[name], after[name])}
    # softmax is blind to what a key's bias adds to all tokens alike
    assert {name for name in kept if "key.bias" not in name} == {
        name for name in after if still and name.startswith(still) and "key.bias" not in name
    }


def test_from_its_epoch_on_a_thawed_layer_learns(tmp_path: Path, params: dict[str, Any]) -> None:
    params |= {"frozen": 3, "thaw_epoch": 2, "warmup": 0.1}
    folder = tmp_path / "run"
    at_first = weights_of(run(folder, params, epochs=0)[1])
    frozen = weights_of(run(folder, params, last=1)[1])
    thawed = weights_of(run(tmp_path / "on", params, last=2)[1])
    body = [name for name in frozen if name.startswith("body.") and "key.bias" not in name]
    assert all(torch.equal(at_first[name], frozen[name]) for name in body)
    assert not any(torch.equal(frozen[name], thawed[name]) for name in body)


def make_classifier(made: dict[str, str], kind: str = "text") -> finetune.Classifier:
    return finetune.Classifier(finetune.make_body(made[kind], "pretrained"), 3, pooling="mean", dropout=0.5)


@pytest.mark.parametrize("kind", ["text", "vit", "resnet"])
def test_layers_are_the_embeddings_and_each_block(made: dict[str, str], kind: str) -> None:
    layers = finetune.layers_of(make_classifier(made, kind).body)
    assert len(layers) == 3
    assert all(any(True for _ in layer.parameters()) for layer in layers)


def test_what_is_frozen_works_as_when_it_is_measured(made: dict[str, str]) -> None:
    classifier = make_classifier(made, "resnet")
    classifier.freeze(2)
    classifier.train()
    states = {part: classifier.body.get_submodule(part).training for part in ("embedder", "encoder.stages.1")}
    assert states == {"embedder": False, "encoder.stages.1": True}
    norms = {name: part for name, part in classifier.body.named_modules() if isinstance(part, nn.BatchNorm2d)}
    classifier({"pixel_values": torch.randn(4, 3, 32, 32)})
    moved = {name for name, norm in norms.items() if norm.num_batches_tracked}
    assert moved == {name for name in norms if name.startswith("encoder.stages.1")}


@pytest.mark.parametrize("frozen", [0, 3])
def test_each_parameter_has_one_rate_by_its_layer(made: dict[str, str], frozen: int) -> None:
    classifier = make_classifier(made)
    classifier.freeze(frozen)
    groups = finetune.make_optimizer(classifier, 0.1, 0.01, layer_decay=0.5, weight_decay=0.0).param_groups
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in classifier.parameters())
    rates = {group["layer"]: group["lr"] for group in groups}
    assert rates == {None: 0.1, 0: 0.0025, 1: 0.005, 2: 0.01}


def test_weight_decay_pulls_on_matrices_alone(made: dict[str, str]) -> None:
    classifier = make_classifier(made)
    groups = finetune.make_optimizer(classifier, 0.1, 0.01, layer_decay=1.0, weight_decay=0.3).param_groups
    assert all(
        (parameter.ndim > 1) is (group["weight_decay"] == 0.3) for group in groups for parameter in group["params"]
    )


def test_the_schedule_is_transformers_own_a_step_ahead(made: dict[str, str]) -> None:
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, 20, 100).lr_lambdas[0]
    ours = [finetune.rate(step, begins=0, steps=100, warmup=0.2) for step in range(102)]
    assert ours[:20] == pytest.approx([theirs(step + 1) for step in range(20)])
    assert ours[20:] == pytest.approx([theirs(step) for step in range(20, 102)])


def test_thawed_layers_rise_anew_and_fall_with_the_others() -> None:
    late = [finetune.rate(step, begins=50, steps=100, warmup=0.2) for step in range(100)]
    early = [finetune.rate(step, begins=0, steps=100, warmup=0.2) for step in range(100)]
    assert late[:50] == [0.0] * 50
    assert late[50:70] == pytest.approx([early[50 + i] * (i + 1) / 20 for i in range(20)])
    assert late[70:] == early[70:]


@pytest.mark.parametrize("how", finetune.POOLINGS)
def test_padding_changes_no_pooled_output(made: dict[str, str], how: str) -> None:
    body = finetune.make_body(made["text"], "pretrained").eval()
    ids = torch.tensor([[101, 2000, 2001, 102]])
    mask = torch.ones_like(ids)
    short = finetune.pool(body(ids, mask).last_hidden_state, mask, how)
    padded = functional_pad(mask, 3)
    long = finetune.pool(body(functional_pad(ids, 3), padded).last_hidden_state, padded, how)
    assert torch.allclose(short, long, atol=1e-5)


def functional_pad(rows: torch.Tensor, by: int) -> torch.Tensor:
    return nn.functional.pad(rows, (0, by))


def test_an_image_of_states_is_pooled_over_its_places() -> None:
    states = torch.randn(2, 5, 3, 3)
    assert torch.allclose(finetune.pool(states, None, "mean"), states.mean((2, 3)))
    assert torch.equal(finetune.pool(states, None, "max"), states.amax((2, 3)))
    with pytest.raises(
        ValueError, match="pooling must be mean or max for a model without a first token, but got 'cls'"
    ):
        finetune.pool(states, None, "cls")


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_images_are_learned(tmp_path: Path, made: dict[str, str], kind: str) -> None:
    params = {"lr_head": 0.02, "lr_body": 0.01, "model": made[kind], "data": "digits", "train_size": 400}
    channel, _ = run(tmp_path, params, epochs=3)
    assert set(channel.metrics[0]) == {"val_accuracy", "val_loss", "train_loss"}
    assert channel.metrics[-1]["val_accuracy"] > 0.3


def test_what_minilm_knows_is_worth_more_than_its_shape(tmp_path: Path, params: dict[str, Any]) -> None:
    params |= {"model": finetune.MINILM, "frozen": 7, "data": str(tiny.texts(tmp_path / "few.csv", each=15))}
    known, _ = run(tmp_path / "known", params, epochs=2)
    random, _ = run(tmp_path / "random", params | {"weights": "random"}, epochs=2)
    assert known.metrics[-1]["val_loss"] < random.metrics[-1]["val_loss"] / 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"pooling": "sum"}, "pooling must be one of mean, max, cls, but got 'sum'"),
        ({"frozen": 4}, "frozen must be from 0 to the 3 layers of this model, but got 4"),
        ({"warmup": 1.5}, "warmup must be a share of all steps, from 0 to 1, but got 1.5"),
        ({"weights": "none"}, "weights must be pretrained or random, but got 'none'"),
        ({"train_size": 0}, "train_size must be at least 1, but got 0"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, params: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, params | more, epochs=1)


def test_a_clone_may_freeze_other_layers_than_its_donor(tmp_path: Path, params: dict[str, Any]) -> None:
    donor, _ = run(tmp_path, params | {"frozen": 3}, last=1)
    own = params | {"frozen": 0, "lr_head": 0.02}
    _, clone = run(tmp_path, own, checkpoint=donor.paths[0], epoch=1, attempt="2.0", cloned=True, generation=1)
    groups = clone._tracked["optimizer"].param_groups
    assert {group["layer"]: group["initial_lr"] for group in groups} == {None: 0.02, 0: 0.01, 1: 0.01, 2: 0.01}
    steps = {int(state["step"]) for state in clone._tracked["optimizer"].state.values()}
    assert steps == {12, 18}, "the head goes on from the donor's first epoch, the body begins"
