"""A real run that confirms its winner, and is killed with everything below it in the middle of that."""

import json
import subprocess
from pathlib import Path

import psutil
from support import command, decided_alike, environment, records, reports, wait_for

from tuner.core import confirm
from tuner.core.records import Repeated
from tuner.outputs.results import read_state

NOISY = """
import random, time

class Count:
    def __init__(self): self.n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

def train(trial, *, lr):
    count = Count()
    trial.track(count=count)
    trial.test(lambda: {"test_loss": lr, "seed": float(trial.seed)})
    for epoch in trial.epochs():
        count.n += 1
        time.sleep(0.1)
        with open(trial.folder / "seed.txt", "a") as file: print(trial.seed, file=file)
        trial.report(loss=lr + 0.3 * random.gauss(0, 1) / count.n)
"""


def test_killed_in_the_middle_of_its_confirmation_it_is_resumed_to_a_winner(launch, write, tmp_path: Path) -> None:
    path = write(NOISY, budget={"trials": 4, "epochs": 3}, confirm={"top": 2, "seeds": 4}, scheduler={"kind": "none"})
    folder = tmp_path / "runs" / "holds"
    with subprocess.Popen(
        command("--space", str(path), "--name", "holds", "--no-dashboard"), cwd=tmp_path, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as driver:  # fmt: skip
        wait_for(lambda: driver.poll() is not None or sum("-s" in report.trial for report in reports(folder)) >= 5)
        assert driver.poll() is None
        for process in [*psutil.Process(driver.pid).children(recursive=True), psutil.Process(driver.pid)]:
            process.kill()
    before = records(folder)
    assert any(isinstance(record, Repeated) for record in before)
    said = launch("--resume", "holds", "--no-dashboard").stdout
    run = read_state(folder)
    assert records(folder)[: len(before)] == before
    assert run.finished()
    winner, chosen = confirm.winner(run), run.chosen
    assert winner is not None
    assert chosen is not None
    assert f"Confirmed: {winner.id}, loss " in said
    for one in run.repeats.values():
        seeds = set((folder / "trials" / one.id / "seed.txt").read_text().split())
        assert seeds == {str(one.training_seed(0))}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["confirmed"][0]["trial"] == winner.id
    assert summary["test"]["test_loss"] == winner.params["lr"]
    assert json.loads((folder / "best" / "test.json").read_text())["trial"] == chosen.trial
    assert summary["test"]["seed"] == run.repeats[chosen.trial].training_seed(0)
    decided_alike(tmp_path / "runs" / "holds")
