"""What docs/gpus.md claims, tried for real: the start, the share of memory, the way out of memory, the precision."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.gpus import packing, work
from benchmarks.gpus.crew import PATIENCE, Child, Failed, Line, Skipped, ask
from tuner.slot.memory import is_out_of_memory
from tuner.trial.local import LocalTrial
from tuner.trial.meter import hold_to_share

Told = dict[str, Any]
ROOT = Path(__file__).parents[2]
FRESH = (
    "import torch; torch.set_num_threads(1); (torch.ones(1, device={device!r}) + 1).item(); print('done', flush=True)"
)
TIMES = 3
MANY = 1 << 16
"""Samples of a batch of which eight layers keep two GiB."""


def facts(line: Line, device: str) -> Told:
    """Tell, in a process of its own, which GPU there is: to ask would begin to use it, which no fork outlives."""
    if device == "cpu" or not torch.cuda.is_available():
        return {"available": device == "cpu", "name": "a CPU"}
    about = torch.cuda.get_device_properties(0)
    return {
        "available": True,
        "name": about.name,
        "count": torch.cuda.device_count(),
        "memory": about.total_memory,
        "capability": f"{about.major}.{about.minor}",
        "cuda": torch.version.cuda,
    }


def start(device: str) -> Told:
    """Time the start of a process until its first kernel is done: a fresh one, and one that is forked."""
    forked = []
    for _ in range(TIMES):
        with Child(touch, device) as one:
            one.hear()
            forked.append(time.perf_counter() - one.began)
    told: Told = {"fresh": [_fresh(device) for _ in range(TIMES)], "forked": forked}
    return {**told, **_context()} if device == "cuda" else told


def touch(line: Line, device: str) -> int:
    """Use the device for the first time; then train a little, and each time say what the allocator holds."""
    torch.set_num_threads(1)
    (torch.ones(1, device=device) + 1).item()
    line.say(work.reserved(device))
    line.hear()
    step = work.prepare(work.Order("small CNN", device, 0))
    for _ in range(10):
        step()
    work.wait(device)
    line.say(work.reserved(device))
    return line.hear()


def observe(line: Line) -> None:
    """Tell what is free on the GPU whenever asked, from a process that holds its own context already."""
    torch.zeros(1, device="cuda")
    line.say("ready")
    while line.hear():
        line.say(torch.cuda.mem_get_info()[0])


def _fresh(device: str) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", FRESH.format(device=device)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise Failed(f"a fresh process: {done.stderr.strip().splitlines()[-1:]}")
    return time.perf_counter() - began


def _context() -> Told:
    """Measure what one process holds of the GPU beyond its allocator: after its first kernel, and after training."""
    with Child(observe) as observer:
        observer.hear()
        free = [_free(observer)]
        with Child(touch, "cuda") as one:
            held = [one.hear()]
            free.append(_free(observer))
            one.say("train")
            held.append(one.hear())
            free.append(_free(observer))
    return {"context": free[0] - free[1] - held[0], "context_trained": free[0] - free[2] - held[1]}


def _free(observer: Child) -> int:
    observer.say("ask")
    return int(observer.hear())


def share(device: str, part: float = 0.25) -> Told:
    """Let one process take more than its share, beside another that trains."""
    if device == "cpu":
        raise Skipped("a CPU's memory has no shares")
    with Child(work.member, work.Order("small CNN", device, 0.2, share=part)) as neighbour:
        neighbour.hear()
        neighbour.say("go")
        before = neighbour.hear()["steps"]
        told = ask(take, part)
        neighbour.say("stop")
        return {**told, "neighbours_steps": neighbour.hear() - before}


def take(line: Line, part: float) -> Told:
    """Take block after block until there is none; then give all back, and go on."""
    hold_to_share(part)
    total, blocks, error = torch.cuda.mem_get_info()[1], [], ""
    block = max(2 << 20, int(part * total) // 64)
    while not error and len(blocks) * block < 1.5 * part * total:
        try:
            blocks.append(torch.empty(block, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError as caught:
            error = str(caught).splitlines()[0]
            known = is_out_of_memory(caught)
    held = torch.cuda.memory_reserved()
    blocks.clear()
    torch.cuda.empty_cache()
    went_on = (torch.ones(1, device="cuda") + 1).item() == 2
    return {
        "share": part,
        "total": total,
        "held": held,
        "error": error,
        "known": bool(error) and known,
        "went_on": went_on,
    }


def recovery(device: str) -> Told:
    """Train batches that do not fit as a whole but do in two parts; the losses are those of where they fit."""
    whole, halves = ask(train, device, 1, 1.0), ask(train, device, 2, 1.0)
    if "error" in whole or "error" in halves:
        raise Skipped("this GPU has too little memory for the batches of this test")
    if device == "cpu":
        return {"whole": whole, "parts": halves}
    part = (whole["reserved"] + halves["reserved"]) / 2 / whole["total"]
    short = ask(train, device, 1, part)
    return {"whole": whole, "short": short, "parts": ask(train, device, 2, part), "share": part}


def train(line: Line, device: str, parts: int, part: float) -> Told:
    """Train a few batches as a trial that has this share, or say how it ran out of memory."""
    torch.set_num_threads(1)
    hold_to_share(part)
    trial = work.trial_of(device, gpus=part, parts=parts)
    try:
        losses = list(_losses(trial, MANY if device == "cuda" else 256))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {"error": str(error).splitlines()[0], "could_split": trial.could_split}
    total = torch.cuda.mem_get_info()[1] if device == "cuda" else 0
    return {"losses": losses, "reserved": work.reserved(device), "total": total}


def _losses(trial: LocalTrial, count: int, batches: int = 4) -> Iterator[float]:
    """Yield the mean loss of each batch. Nearly all memory goes to what eight layers keep for the backward pass."""
    width = 512
    layers = [layer for _ in range(8) for layer in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, work.CLASSES)).to(trial.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trial.track(model=model, optimizer=optimizer)
    batch = torch.randn(count, width), torch.randint(work.CLASSES, (count,))
    seen, total = 0, 0.0
    for inputs, targets in trial.batches([batch] * batches):
        loss = functional.cross_entropy(model(inputs.to(trial.device)), targets.to(trial.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen, total = seen + len(inputs), total + loss.item() * len(inputs)
        if seen == count:
            yield total / count
            seen, total = 0, 0.0


def precision(device: str, seconds: float, rounds: int = 2) -> list[Told]:
    """Train each work in fp32 and in bf16, the first of the two in turn."""
    plan = packing.Plan(device, seconds, (1,), rounds)
    told = []
    for turn in range(rounds):
        for name in plan.works:
            for kind in ("fp32", "bf16") if turn % 2 == 0 else ("bf16", "fp32"):
                told.append({"work": name, "turn": turn, "kind": kind, **packing.one(plan, name, 1, precision=kind)})
    return told
