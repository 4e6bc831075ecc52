"""A small transformer on images, split over two devices: micro-batches keep both at work (GPipe, Huang et al. 2019).

One process holds both devices (`resources: {gpus: 2, ranks: 1}`). torch.distributed.pipelining has the same schedule
(ScheduleGPipe), but wants a process for each stage; a trial's checkpoint holds the objects of one process, its first.
"""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.nn import functional

from trainables.data import Data, Split, load, loader
from tuner import Trial

CPU = torch.device("cpu")


def train(
    trial: Trial,
    *,
    split: int,
    micro_batches: int = 4,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    layers: int = 6,
    width: int = 64,
    heads: int = 4,
    patch: int = 2,
    dataset: str = "digits",
    train_size: int | None = None,
    batch_size: int = 128,
    workers: int = 0,
) -> None:
    """Train it; report images_per_second, val_accuracy, val_loss and train_loss at each epoch.

    Of its `layers` blocks `split` run on the first device, the others on the last; `patch` is the edge, in pixels, of
    the squares that an image is cut into. `split` and `micro_batches` change the speed and the memory, not the steps.
    """
    data = load(dataset, train_size=train_size)
    pin = trial.device.type == "cuda"
    batches = loader(data.train, batch_size, shuffle=True, workers=workers, pin_memory=pin, seed=trial.seed)
    model = make_model(data, layers=layers, width=width, heads=heads, patch=patch)
    pipeline = Pipeline(model, split=split, micro_batches=micro_batches, devices=trial.devices)
    steps = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    scaler = trial.scaler

    trial.track(model=model, optimizer=steps, normalize=data.normalize)
    trial.test(lambda: evaluate(pipeline, data, data.test(), name="test"))
    for _ in trial.epochs():
        model.train()
        losses, speed = [], Speed(trial.devices)
        for images, labels in trial.batches(batches):
            with trial.autocast():  # the backward pass outside: it computes in what the forward pass did
                loss = pipeline.loss(data.normalize(pipeline.enter(images)), labels)
            steps.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(steps)
            scaler.update()
            losses.append(loss.detach())
            speed.count(len(images))
        metrics = {"images_per_second": speed.per_second(), "train_loss": torch.stack(losses).mean().item()}
        trial.report({**metrics, **evaluate(pipeline, data, data.val, name="val")})


def warm_up(
    *,
    layers: int = 6,
    width: int = 64,
    heads: int = 4,
    patch: int = 2,
    dataset: str = "digits",
    train_size: int | None = None,
    batch_size: int = 128,
) -> None:
    """Decode the data and take one step, once, in the process that all trials are forked from."""
    data = load(dataset, train_size=train_size)
    if torch.version.cuda is not None:
        return  # a backward pass would start CUDA, which no fork outlives
    model = make_model(data, layers=layers, width=width, heads=heads, patch=patch)
    pipeline = Pipeline(model, split=layers // 2, micro_batches=1, devices=[CPU])
    images, labels = next(iter(loader(data.train, batch_size, shuffle=True)))
    pipeline.loss(data.normalize(images), labels).backward()
    torch.optim.AdamW(model.parameters()).step()


class Embed(nn.Module):
    """Cut images into squares, and map each to a token that knows its place (Dosovitskiy et al. 2021, section 3.1)."""

    def __init__(self, shape: tuple[int, int, int], width: int, patch: int) -> None:
        super().__init__()
        channels, height, image_width = shape
        if height % patch or image_width % patch:
            raise ValueError(f"patch must divide the {height} x {image_width} pixels of an image, but got {patch}")
        self.squares = nn.Conv2d(channels, width, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn(height // patch * (image_width // patch), width))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (N x C x H x W) to tokens (N x squares x width)."""
        return self.squares(images).flatten(2).transpose(1, 2) + self.places


class Block(nn.Module):
    """Attention and an MLP, each behind a norm and with a way around (Vaswani et al. 2017; the norm first).

    LayerNorm looks at one sample alone. BatchNorm would see the micro-batch, and the step would depend on how many
    there are. For the same reason there is no dropout: its random numbers would fall otherwise.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens to tokens."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Head(nn.Module):
    """The classes from the mean of all tokens."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens to logits (N x classes)."""
        return self.linear(self.norm(x).mean(1))


def make_model(data: Data, *, layers: int, width: int, heads: int, patch: int) -> nn.Sequential:
    """Stack an embedding, `layers` blocks and a head; one chain, so that it can be cut between any two blocks."""
    blocks = [Block(width, heads) for _ in range(layers)]
    return nn.Sequential(Embed(data.shape, width, patch), *blocks, Head(width, len(data.classes)))


class Pipeline:
    """A chain of layers in two stages on two devices. The chain itself stays whole: so does its checkpoint."""

    def __init__(self, model: nn.Sequential, *, split: int, micro_batches: int, devices: list[torch.device]) -> None:
        """Put the embedding and `split` blocks on the first device, the other blocks and the head on the last."""
        if not 0 <= split <= len(model) - 2:
            raise ValueError(f"split must be from 0 to the {len(model) - 2} blocks of the model, but got {split}")
        self.micro_batches = micro_batches
        self.first, self.last = devices[0], devices[-1]
        self.stage1, self.stage2 = model[: split + 1].to(self.first), model[split + 1 :].to(self.last)

    def enter(self, images: torch.Tensor) -> torch.Tensor:
        """Move a batch to the first device."""
        return images.to(self.first, non_blocking=True)

    def logits(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute the logits of each micro-batch, on the last device.

        Stage 1 of a micro-batch is launched before stage 2 of the one before it. A GPU works through what was launched
        while Python goes on, so the second computes one micro-batch while the first computes the next. The backward
        pass does so by itself: autograd has a thread for each device, and takes the micro-batches last to first.
        """
        handed, done = [], []
        for part in images.tensor_split(max(1, min(self.micro_batches, len(images)))):
            handed.append(self.stage1(part).to(self.last, non_blocking=True))
            if len(handed) > 1:
                done.append(self.stage2(handed.pop(0)))
        return [*done, self.stage2(handed.pop())]

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the mean cross entropy of a batch; its gradient is the sum of those of the micro-batches."""
        labels = labels.to(self.last, non_blocking=True)
        logits = self.logits(images)
        parts = zip(logits, labels.split([len(part) for part in logits]), strict=True)
        sums = [functional.cross_entropy(part, right, reduction="sum") for part, right in parts]
        return torch.stack(sums).sum() / len(labels)


class Speed:
    """Images a second of an epoch. The first batch, which pays for workers and kernels, counts only if it is alone."""

    def __init__(self, devices: list[torch.device]) -> None:
        self.devices, self.images, self.began = devices, 0, time.perf_counter()
        self.first: tuple[int, float] | None = None

    def count(self, images: int) -> None:
        """Take in a batch."""
        self.images += images
        if self.first is None:
            self._wait()
            self.first = images, time.perf_counter()

    def per_second(self) -> float:
        """Divide by the time until the devices have done all of it."""
        self._wait()
        images, began = self.first if self.first and self.first[0] < self.images else (0, self.began)
        return (self.images - images) / (time.perf_counter() - began)

    def _wait(self) -> None:
        for device in self.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)


@torch.inference_mode()
def evaluate(pipeline: Pipeline, data: Data, split: Split, *, name: str) -> dict[str, float]:
    """Compute accuracy (0 to 1) and mean cross entropy on a split, as `<name>_accuracy` and `<name>_loss`."""
    pipeline.stage1.eval()
    pipeline.stage2.eval()
    right = loss = 0.0
    for images, labels in loader(split, 512, shuffle=False):
        logits = torch.cat(pipeline.logits(data.normalize(pipeline.enter(images)))).cpu()
        right += (logits.argmax(1) == labels).sum().item()
        loss += functional.cross_entropy(logits, labels, reduction="sum").item()
    return {f"{name}_accuracy": right / len(split), f"{name}_loss": loss / len(split)}
