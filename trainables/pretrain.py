"""A small vision transformer (Dosovitskiy et al. 2021) of our own, pretrained and saved as Hugging Face saves models.

    python -m trainables.pretrain --out models/vit-fashion

No pretrained model of images is in any package, so search_spaces/finetune_images.yaml begins from this one.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from trainables.data import Data, Split, load, loader


def main() -> None:
    """Read the command line, pretrain, save."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--out", type=Path, default=Path("models/vit-fashion"), help="folder to save to")
    flags.add_argument("--dataset", default="fashion-mnist", help="or digits, cifar10, a folder")
    flags.add_argument("--train-size", type=int, default=10_000, help="training images, of 54,000 in Fashion-MNIST")
    flags.add_argument("--epochs", type=int, default=10)
    flags.add_argument("--width", type=int, default=64)
    flags.add_argument("--layers", type=int, default=4)
    flags.add_argument("--patch", type=int, default=4, help="edge of the squares that become tokens, pixels")
    flags.add_argument("--lr", type=float, default=2e-3)
    flags.add_argument("--seed", type=int, default=0)
    given = vars(flags.parse_args())
    print(f"{pretrain(**given):.4f} of the validation images right; saved to {given['out']}")


def pretrain(
    out: Path,
    *,
    dataset: str = "fashion-mnist",
    train_size: int | None = 10_000,
    epochs: int = 10,
    width: int = 64,
    layers: int = 4,
    patch: int = 4,
    lr: float = 2e-3,
    seed: int = 0,
) -> float:
    """Train on a data set by name, save a folder for `from_pretrained`, return the accuracy on the validation split."""
    torch.manual_seed(seed)
    data = load(dataset, train_size=train_size)
    batches = loader(data.train, 128, shuffle=True, seed=seed)
    model = make_model(data, width=width, layers=layers, patch=patch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    rates = OneCycleLR(optimizer, lr, total_steps=epochs * len(batches))
    accuracy = 0.0
    for epoch in range(1, epochs + 1):
        began = time.monotonic()
        model.train()
        for images, labels in batches:
            logits = model(pixel_values=data.normalize(data.augment(images))).logits
            optimizer.zero_grad()
            functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            rates.step()
        accuracy = evaluate(model, data, data.val)
        print(f"epoch {epoch}: val_accuracy {accuracy:.4f}, {time.monotonic() - began:.0f} s", flush=True)
    save(model, data, out)
    return accuracy


def make_model(data: Data, *, width: int, layers: int, patch: int) -> Any:
    """Make the transformer with a head for the classes of the data."""
    from transformers import ViTConfig, ViTForImageClassification

    channels, height, _ = data.shape
    shape = ViTConfig(
        image_size=height,
        patch_size=patch,
        num_channels=channels,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 16),
        intermediate_size=2 * width,
        num_labels=len(data.classes),
        id2label=dict(enumerate(data.classes)),
    )
    return ViTForImageClassification(shape)


@torch.inference_mode()
def evaluate(model: Any, data: Data, split: Split) -> float:
    """Compute the share of a split's images that are classified right."""
    model.eval()
    right = 0
    for images, labels in loader(split, 512, shuffle=False):
        right += int((model(pixel_values=data.normalize(images)).logits.argmax(1) == labels).sum())
    return right / len(split)


def save(model: Any, data: Data, out: Path) -> None:
    """Save weights and shape, and how the images were normalized."""
    model.save_pretrained(out)
    _, height, width = data.shape
    known = {
        "image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width},
        "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": data.mean, "image_std": data.std,
    }  # fmt: skip
    (out / "preprocessor_config.json").write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
