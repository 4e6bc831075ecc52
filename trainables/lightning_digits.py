"""A multilayer perceptron trained by Lightning's `Trainer`, with the callback that makes its fit a trial."""

from __future__ import annotations

import math

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn import functional

from trainables.data import Batch, Data, load, loader
from tuner import Trial
from tuner.integrations.lightning import TrialCallback


def train(
    trial: Trial,
    *,
    lr: float,
    width: int = 64,
    dropout: float = 0.0,
    dataset: str = "digits",
    train_size: int | None = None,
    batch_size: int = 64,
) -> None:
    """Fit it; report val_accuracy, val_loss and train_loss at each epoch."""
    data = load(dataset, train_size=train_size)
    model = Perceptron(data, lr=lr, width=width, dropout=dropout, epochs=trial.total_epochs)
    trainer = Trainer(
        max_epochs=trial.last_epoch,
        callbacks=[TrialCallback(trial)],
        accelerator="auto" if trial.device.type == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    batches = loader(data.train, batch_size, shuffle=True, seed=trial.seed)
    trial.example(data.val.images[:2])
    trial.test(lambda: accuracy(model, loader(data.test(), 512, shuffle=False)))
    trainer.fit(model, batches, loader(data.val, 512, shuffle=False))


class Perceptron(LightningModule):  # type: ignore[misc]
    """Two linear layers on images of bytes; what scales them is a part of it."""

    def __init__(self, data: Data, *, lr: float, width: int, dropout: float, epochs: int) -> None:
        super().__init__()
        self.lr, self.epochs = lr, epochs
        channels, height, image_width = data.shape
        self.register_buffer("mean", torch.tensor(data.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(data.std).view(-1, 1, 1))
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * image_width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, len(data.classes)),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (N x C x H x W, uint8) to logits (N x classes)."""
        return self.layers((images.float() / 255 - self.mean) / self.std)

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:
        """Compute the loss of a batch."""
        loss = functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, number: int) -> None:
        """Log what the validation split gives."""
        logits, labels = self(batch[0]), batch[1]
        self.log("val_loss", functional.cross_entropy(logits, labels), batch_size=len(labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """Make AdamW, and a cosine over the epochs; torch's own would rise again where a larger budget adds some."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)

        def share(epoch: int) -> float:
            return (1 + math.cos(math.pi * min(epoch / self.epochs, 1.0))) / 2

        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, share)]


@torch.inference_mode()
def accuracy(model: Perceptron, batches: torch.utils.data.DataLoader[Batch]) -> dict[str, float]:
    """Compute the share of images that are told right (0 to 1), as `test_accuracy`."""
    model.eval()
    right = [(model(images.to(model.device)).argmax(1).cpu() == labels).float() for images, labels in batches]
    return {"test_accuracy": torch.cat(right).mean().item()}
