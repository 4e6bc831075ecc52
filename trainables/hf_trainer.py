"""A small vision transformer trained by Hugging Face's `Trainer`, with the callback that makes its training a trial."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from trainables.data import Normalize, Split, load
from tuner import Trial
from tuner.integrations.huggingface import TrialCallback, scores


def train(
    trial: Trial,
    *,
    lr: float,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    width: int = 32,
    layers: int = 2,
    heads: int = 4,
    dropout: float = 0.0,
    dataset: str = "digits",
    train_size: int | None = None,
    batch_size: int = 64,
) -> None:
    """Train it; report eval_accuracy, eval_loss and train_loss at each epoch. `warmup` is a share of all steps."""
    data = load(dataset, train_size=train_size)
    channels, height, _ = data.shape
    config = ViTConfig(
        image_size=height, patch_size=2, num_channels=channels, hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=layers, num_attention_heads=heads, hidden_dropout_prob=dropout,
        num_labels=len(data.classes),
    )  # fmt: skip
    model = ViTForImageClassification(config)
    callback = TrialCallback(trial)
    arguments = TrainingArguments(
        output_dir=str(trial.folder / "trainer"),
        num_train_epochs=trial.last_epoch,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=512,
        learning_rate=lr,
        warmup_steps=warmup,
        weight_decay=weight_decay,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=trial.device.type == "cpu",
        seed=trial.seed,
    )
    trial.example(pixel_values=data.normalize(data.val.images[:2]))
    trial.track(normalize=data.normalize)
    trainer = Trainer(
        model, arguments, train_dataset=Images(data.train, data.normalize), callbacks=[callback],
        eval_dataset=Images(data.val, data.normalize), compute_metrics=accuracy,
    )  # fmt: skip
    trial.test(lambda: scores(trainer.evaluate(Images(data.test(), data.normalize), metric_key_prefix="test")))
    trainer.train(resume_from_checkpoint=callback.checkpoint)


class Images(Dataset[dict[str, torch.Tensor]]):
    """A split whose items are named as the model's `forward` has them."""

    def __init__(self, split: Split, normalize: Normalize) -> None:
        self.split, self.normalize = split, normalize

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image, label = self.split[index]
        return {"pixel_values": self.normalize(image), "labels": label}


def accuracy(prediction: Any) -> dict[str, float]:
    """Compute the share of images that are told right (0 to 1)."""
    logits, labels = prediction
    return {"accuracy": float((logits.argmax(1) == labels).mean())}
