"""Loaders and augmentation."""

from __future__ import annotations

import pytest
import torch

from trainables.data import Batch, DataError, Split, loader
from trainables.data.augment import crop_and_flip


def make_split(counts: tuple[int, ...] = (60, 40)) -> Split:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    return Split(images, labels)


def order(batches: list[Batch]) -> list[int]:
    return [int(image[0, 0, 0]) for images, _ in batches for image in images]


def test_the_order_hangs_on_the_seed_alone() -> None:
    split = make_split()
    first = list(loader(split, 10, shuffle=True, seed=1))
    torch.manual_seed(99)
    assert order(list(loader(split, 10, shuffle=True, seed=1))) == order(first)
    assert order(list(loader(split, 10, shuffle=True, seed=2))) != order(first)
    assert sorted(order(first)) == list(range(100))


def test_the_generator_holds_the_whole_state() -> None:
    batches = loader(make_split(), 10, shuffle=True)
    list(batches)
    state = batches.generator.get_state()
    second = order(list(batches))
    again = loader(make_split(), 10, shuffle=True, seed=5)
    again.generator.set_state(state)
    assert order(list(again)) == second


def test_a_loader_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    list(loader(make_split(), 10, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_when_training_are_full_and_else_complete() -> None:
    split = make_split()
    assert [len(labels) for _, labels in loader(split, 32, shuffle=True)] == [32, 32, 32]
    assert [len(labels) for _, labels in loader(split, 32, shuffle=False)] == [32, 32, 32, 4]
    assert [len(labels) for _, labels in loader(split, 128, shuffle=True)] == [100]


def test_the_balanced_sampler_draws_classes_equally_often() -> None:
    batches = loader(make_split((190, 10)), 50, shuffle=True, sampler="balanced")
    labels = torch.cat([labels for _ in range(10) for _, labels in batches])
    assert labels.float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_sampler_of_ones_own() -> None:
    split = make_split()
    batches = loader(split, 10, shuffle=True, sampler=torch.utils.data.SequentialSampler(split))
    assert order(list(batches)) == list(range(100))


def test_an_unknown_sampler() -> None:
    with pytest.raises(DataError, match="sampler must be balanced, null or a torch Sampler, but got 'equal'"):
        loader(make_split(), 10, shuffle=True, sampler="equal")


def test_collate_gets_the_whole_batch() -> None:
    batches = loader(make_split(), 10, shuffle=False, collate=lambda batch: {"n": len(batch[0]), "first": batch[1][0]})
    assert [batch["n"] for batch in batches] == [10] * 10


def test_workers_give_the_same_batches() -> None:
    alone, helped = (list(loader(make_split(), 25, shuffle=True, workers=n)) for n in (0, 1))
    assert order(alone) == order(helped)


def test_crop_and_flip_moves_whole_images() -> None:
    images = torch.arange(1, 37, dtype=torch.uint8).view(1, 1, 6, 6).expand(64, 1, 6, 6)
    torch.manual_seed(0)
    moved = crop_and_flip(images, padding=1, flip=True)
    padded = torch.nn.functional.pad(images[0, 0], (1, 1, 1, 1))
    crops = [padded[top : top + 6, left : left + 6] for top in range(3) for left in range(3)]
    allowed = {tuple(view.flatten().tolist()) for crop in crops for view in (crop, crop.flip(1))}
    seen = {tuple(image.flatten().tolist()) for image in moved}
    assert moved.dtype == torch.uint8
    assert seen <= allowed
    assert len(seen) > 9


def test_augmentation_hangs_on_torchs_random_state() -> None:
    images = torch.randint(256, (8, 3, 5, 5), dtype=torch.uint8)
    state = torch.get_rng_state()
    first = crop_and_flip(images, padding=2, flip=True)
    torch.set_rng_state(state)
    assert torch.equal(crop_and_flip(images, padding=2, flip=True), first)
