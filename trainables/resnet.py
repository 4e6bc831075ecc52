"""A small ResNet on images (He et al. 2016, "Deep residual learning", section 4.2), with what one tunes about it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from trainables.data import Batch, Data, Split, load, loader
from tuner import Trial


def train(
    trial: Trial,
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    optimizer: str = "sgd",
    schedule: str = "cosine",
    width: int = 16,
    depth: int = 1,
    stages: int = 2,
    stem_stride: int = 2,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    augment: bool = True,
    dataset: str = "digits",
    image_size: int = 32,
    train_size: int | None = None,
    batch_size: int = 64,
    sampler: str | None = None,
    workers: int = 0,
) -> None:
    """Train a small ResNet; report val_accuracy, val_loss and train_loss at each epoch.

    `momentum` is beta 1 of AdamW; `width` the channels of the first stage, doubled in each next one; `depth` the
    blocks of a stage; `stem_stride` what the first convolution divides height and width by; `mixup` the alpha of
    its Beta distribution; `image_size` (pixels) counts for image folders only.
    """
    data = load(dataset, size=image_size, train_size=train_size)
    pin = trial.device.type == "cuda"
    batches = loader(
        data.train, batch_size, shuffle=True, sampler=sampler, workers=workers, pin_memory=pin, seed=trial.seed
    )
    model = ResNet(data.shape[0], len(data.classes), width=width, depth=depth, stages=stages, stem_stride=stem_stride)
    # Not channels_last, a tenth faster on a CPU: there two threads make gradients vary by run.
    parallel, batches = trial.prepare(model, batches)
    steps = make_optimizer(model, optimizer, lr=lr, momentum=momentum, weight_decay=weight_decay)
    rates = make_schedule(steps, schedule, trial.total_epochs * len(batches))
    scaler = trial.scaler

    trial.example(data.normalize(data.val.images[:2]))
    trial.track(model=model, optimizer=steps, scheduler=rates, normalize=data.normalize)
    trial.test(lambda: evaluate(model, data, data.test(), trial.device, name="test"))
    for _ in trial.epochs():
        losses = []
        parallel.train()
        for images, labels in ready(trial.batches(batches), data, trial.device, augment=augment):
            with trial.autocast():
                loss = loss_of(parallel, images, labels, mixup=mixup, label_smoothing=label_smoothing)
            steps.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(steps)
            scaler.update()
            rates.step()
            losses.append(loss.detach())
        train_loss = torch.stack(losses).mean().item()
        trial.report({"train_loss": train_loss, **evaluate(model, data, data.val, trial.device, name="val")})


def warm_up(
    *,
    width: int = 16,
    depth: int = 1,
    stages: int = 2,
    stem_stride: int = 2,
    dataset: str = "digits",
    image_size: int = 32,
    train_size: int | None = None,
    batch_size: int = 64,
) -> None:
    """Do once, in the process that all trials are forked from, what else each trial's first epoch would do.

    That is: decode the data, and make the CPU's kernels for the shapes of this model and these batches.
    """
    data = load(dataset, size=image_size, train_size=train_size)
    if torch.version.cuda is not None:
        return  # a backward pass would start CUDA, which no fork outlives
    model = ResNet(data.shape[0], len(data.classes), width=width, depth=depth, stages=stages, stem_stride=stem_stride)
    steps = make_optimizer(model, "sgd", lr=0.1, momentum=0.9, weight_decay=0.0)
    images, labels = next(iter(loader(data.train, batch_size, shuffle=True)))
    loss_of(model, data.normalize(images), labels, mixup=0.0, label_smoothing=0.0).backward()
    steps.step()
    evaluate(model, data, Split(data.val.images[:512], data.val.labels[:512]), torch.device("cpu"), name="val")


class Block(nn.Module):
    """Two convolutions and a way around them (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.around = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve height and width if the stride is 2."""
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.around(x), inplace=True)


class ResNet(nn.Module):
    """Stages of blocks, each with half the resolution and twice the channels of the one before."""

    def __init__(
        self, channels: int, classes: int, *, width: int, depth: int, stages: int, stem_stride: int = 1
    ) -> None:
        super().__init__()
        kernel = max(3, 2 * stem_stride - 1)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, kernel, stem_stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
        for stage in range(stages):
            for block in range(depth):
                layers.append(Block(channels, width * 2**stage, stride=2 if stage and not block else 1))
                channels = width * 2**stage
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (N x C x H x W) to logits (N x classes)."""
        return self.head(self.body(images).mean((2, 3)))


def make_optimizer(
    model: nn.Module, name: str, *, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Make SGD or AdamW, fused: one call a step instead of several a tensor.

    Weight decay pulls on matrices and kernels, not on biases and norms (one axis each).
    """
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), fused=True)
    raise ValueError(f"optimizer must be sgd or adamw, but got {name!r}")


def make_schedule(optimizer: torch.optim.Optimizer, name: str, steps: int) -> LambdaLR:
    """Make the schedule of the learning rate over so many batches.

    A factor of the batch's number alone, so that a resumed trial, and a clone with another lr, go on where they were.
    """
    factors = {"cosine": cosine, "onecycle": one_cycle, "none": constant}
    if name not in factors:
        raise ValueError(f"schedule must be one of {', '.join(factors)}, but got {name!r}")
    return LambdaLR(optimizer, lambda step: factors[name](min(step / max(1, steps - 1), 1.0)))


def cosine(done: float) -> float:
    """Fall from 1 to 0 along half a cosine (Loshchilov and Hutter 2017, equation 5); `done` is 0 to 1."""
    return (1 + math.cos(math.pi * done)) / 2


def one_cycle(done: float, *, warmup: float = 0.3, first: float = 1 / 25, last: float = 1e-4 / 25) -> float:
    """Rise from `first` to 1, then fall to `last` (Smith and Topin 2018; the numbers of torch's OneCycleLR)."""
    if done < warmup:
        return 1 + (first - 1) * cosine(done / warmup)
    return last + (1 - last) * cosine((done - warmup) / (1 - warmup))


def constant(done: float) -> float:
    """Stay at 1."""
    return 1.0


def ready(batches: Iterable[Batch], data: Data, device: torch.device, *, augment: bool) -> Iterable[Batch]:
    """Move batches to the device as bytes, a quarter of the floats; augment and normalize them there."""
    for images, labels in batches:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        yield data.normalize(data.augment(images) if augment else images), labels


def loss_of(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, mixup: float, label_smoothing: float
) -> torch.Tensor:
    """Compute the mean cross entropy of a batch, mixed or not."""
    if not mixup:
        return functional.cross_entropy(model(images), labels, label_smoothing=label_smoothing)
    mixed, others, share = mix(images, labels, mixup)
    logits = model(mixed)
    own = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    other = functional.cross_entropy(logits, others, label_smoothing=label_smoothing)
    return share * own + (1 - share) * other


def mix(images: torch.Tensor, labels: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Blend each image with another of its batch (mixup, Zhang et al. 2018, equation 1).

    Returns the images, the labels of the others, and the share of the own image, from Beta(alpha, alpha).
    """
    share = torch.distributions.Beta(alpha, alpha).sample().item()
    order = torch.randperm(len(images)).to(images.device)
    return share * images + (1 - share) * images[order], labels[order], share


@torch.inference_mode()
def evaluate(model: nn.Module, data: Data, split: Split, device: torch.device, *, name: str) -> dict[str, float]:
    """Compute accuracy (0 to 1) and mean cross entropy on a split, as `<name>_accuracy` and `<name>_loss`."""
    model.eval()
    right = loss = torch.zeros((), device=device)
    for images, labels in ready(loader(split, 512, shuffle=False), data, device, augment=False):
        logits = model(images)
        right = right + (logits.argmax(1) == labels).sum()
        loss = loss + functional.cross_entropy(logits, labels, reduction="sum")
    return {f"{name}_accuracy": right.item() / len(split), f"{name}_loss": loss.item() / len(split)}
