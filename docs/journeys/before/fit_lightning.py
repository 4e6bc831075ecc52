"""Train a small network on scikit-learn's digits, with Lightning."""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split


class Network(lightning.LightningModule):
    def __init__(self, lr: float, width: int, dropout: float):
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10))

    def forward(self, images):
        return self.layers(images)

    def training_step(self, batch, number):
        images, labels = batch
        return functional.cross_entropy(self(images), labels)

    def validation_step(self, batch, number):
        images, labels = batch
        logits = self(images)
        self.log("val_loss", functional.cross_entropy(logits, labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


def main():
    lightning.seed_everything(0)
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    train_data, val_data = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    network = Network(lr=0.01, width=32, dropout=0.1)
    trainer = lightning.Trainer(max_epochs=9)
    trainer.fit(network, DataLoader(train_data, 64, shuffle=True), DataLoader(val_data, 512))


if __name__ == "__main__":
    main()
