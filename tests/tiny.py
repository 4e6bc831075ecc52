"""Pretrained models small enough for tests, with random weights, saved as Hugging Face saves models."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

WORDS = {"games": "puzzle arcade chess", "mail": "smtp inbox spam", "sound": "audio mixer midi"}
"""What texts of a class are made of: easy to learn, so that a few steps show."""


def text_model(folder: Path) -> Path:
    """Save a BERT of two layers, with MiniLM's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from trainables.data import pretrained
    from trainables.finetune import MINILM

    tokenizer = AutoTokenizer.from_pretrained(pretrained.place_of(MINILM))
    shape = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    return _saved(BertModel(shape), folder, tokenizer)


def vit(folder: Path) -> Path:
    """Save a vision transformer of two layers for digits."""
    from transformers import ViTConfig, ViTModel

    shape = ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    return _saved(ViTModel(shape), folder)


def resnet(folder: Path) -> Path:
    """Save a ResNet of two stages: it has BatchNorm, and its states are an image."""
    from transformers import ResNetConfig, ResNetModel

    shape = ResNetConfig(num_channels=3, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    return _saved(ResNetModel(shape), folder)


def texts(path: Path, each: int = 30) -> Path:
    """Write a CSV of texts in three classes."""
    rows = [(" ".join(words.split()[: 1 + i % 3]), name) for name, words in WORDS.items() for i in range(each)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def _saved(model: Any, folder: Path, *more: Any) -> Path:
    for part in (model, *more):
        part.save_pretrained(folder)
    return folder
