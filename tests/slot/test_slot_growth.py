"""Memory that grows until a trial ends of it: the note in its log, and the reason that the run keeps."""

from __future__ import annotations

import pytest

from .bench import Bench

pytestmark = pytest.mark.slow

LEAKS = """
import os, resource, signal
import torch
from tuner.trial import growth

growth.PART = 0.0

def train(trial):
    scale, losses = torch.ones(1, requires_grad=True), []
    steps = torch.optim.SGD([scale], lr=0.1)
    data = [torch.ones(1024, 1024)] * 400
    held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 1000 * 2**20,) * 2)
    for x in trial.batches(data):
        loss = (x * scale).sigmoid().mean()
        loss.backward(retain_graph=True)
        steps.step()
        losses.append({kept})
        {more}
    trial.report(loss=1.0)
"""
WHY = "most likely a loss is kept with its graph, in `losses` (user_module.py:18): add loss.item() or loss.detach()"


def test_a_trial_that_runs_out_of_memory_has_the_cause_in_its_log_and_in_its_reason(bench: Bench) -> None:
    (event,) = bench.run(bench.slot(LEAKS.format(kept="loss", more="")))
    assert event["outcome"] == "infeasible"
    assert event["reason"].startswith("out of memory: RuntimeError: ")
    assert "(the machine's memory that this trial holds grows by " in event["reason"]
    assert f" MiB a batch: {WHY}" in event["reason"]
    (note,) = [line for line in bench.log().splitlines() if line.startswith("note:")]
    assert note.removeprefix("note: ") in event["reason"]


@pytest.mark.parametrize(("end", "said"), [("SIGKILL", True), ("SIGTERM", False)])
def test_a_trial_that_is_killed_leaves_what_it_knew_to_its_slot(bench: Bench, end: str, said: bool) -> None:
    more = f"if trial.growth.note: os.kill(os.getpid(), signal.{end})"
    (event,) = bench.run(bench.slot(LEAKS.format(kept="loss", more=more)))
    assert event["reason"].startswith(f"its process was killed by {end} in the middle of the trial")
    assert (WHY in event["reason"]) == said
    assert WHY in bench.log()


def test_the_mended_trial_goes_to_its_end_without_a_word(bench: Bench) -> None:
    report, event = bench.run(bench.slot(LEAKS.format(kept="loss.item()", more="")), bench.assignment(epochs=1))
    assert (report["event"], event["event"]) == ("report", "returned")
    assert bench.log() == ""
