"""Trials that run out of a GPU's memory, and the best that is found: here, and by Ray Tune with OptunaSearch.

python -m benchmarks.memory_edge                # 12 seeds of 60 trials each way; figures go to raw/memory_edge.json
python -m benchmarks.memory_edge --seeds 1 --trials 12      # a try; keeps nothing
python -m benchmarks.memory_edge --real --seeds 2           # on this GPU; figures go to raw/memory_edge_gpu.json

Both run for real, on a GPU of 4 MiB that is simulated: every tensor that a trial makes counts, and where there is no
room torch.OutOfMemoryError is raised (`tuner/trial/simulated.py`). With --real the tensors are as much larger as the
GPU is (`edge_gpu.py`). Seeds are run in turn, the one way, then the other.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python benchmarks/memory_edge.py` works too

from benchmarks import machine

HERE = Path(__file__).parent
KEPT = HERE / "raw" / "memory_edge.json"
KEPT_REAL = HERE / "raw" / "memory_edge_gpu.json"
CARD, REAL = "4MiB", "real"


def ours(seed: int, trials: int, card: str, folder: Path) -> dict[str, Any]:
    """Run the service's own command."""
    name = f"edge-{seed}"
    launch = [sys.executable, str(HERE.parent / "launch.py"), "--space", str(HERE / "edge.yaml"), "--no-dashboard"]
    if card == REAL:
        launch += ["--set", "trainable=edge_gpu.py:train"]
    flags = ["--name", name, "--set", f"seed={seed}", "--set", f"budget.trials={trials}"]
    environment = {**os.environ, **({} if card == REAL else {"TUNER_SIMULATED_GPU": card})}
    subprocess.run([*launch, *flags], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    from tuner.core.state import replay
    from tuner.ledger import read

    state = replay(read(folder / "runs" / name))
    ended = [trial for trial in state.trials.values() if trial.outcome == "infeasible"]
    tried = [trial for trial in ended if trial.given is not None]
    assert state.best is not None
    return {"out_of_memory": len(tried), "foreseen": len(ended) - len(tried), "best": state.best.value}


def theirs(seed: int, trials: int, card: str, folder: Path) -> dict[str, Any]:
    """Run Ray Tune with OptunaSearch, in a process of its own."""
    out = folder / f"ray-{seed}.json"
    command = [sys.executable, "-m", "benchmarks.peers.edge", str(seed), str(trials), card, str(out)]
    subprocess.run(
        command, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "RAY_TMPDIR": str(folder)},
    )  # fmt: skip
    told: dict[str, Any] = json.loads(out.read_text())
    return told


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Compare: the trials that ran out of memory as a ratio, and how often the best is better."""
    out = {who: statistics.mean(one["out_of_memory"] for one in ones) for who, ones in found.items()}
    best = {who: statistics.mean(one["best"] for one in ones) for who, ones in found.items()}
    pairs = zip(found["ours"], found["ray and optuna"], strict=True)
    return {
        "out_of_memory": out,
        "ratio": out["ours"] / max(1e-9, out["ray and optuna"]),
        "best": best,
        "better_in": sum(mine["best"] > other["best"] for mine, other in pairs),
    }


def main() -> None:
    """Run all seeds, and print and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--real", action="store_true", help="on this machine's GPU")
    flags = parser.parse_args()
    card = REAL if flags.real else CARD
    folder = Path(tempfile.mkdtemp(prefix="edge"))
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "ray and optuna": []}
    try:
        for seed in range(flags.seeds):
            for who, run in (("ours", ours), ("ray and optuna", theirs)):
                found[who].append(run(seed, flags.trials, card, folder))
                print(f"seed {seed}  {who:<16}{found[who][-1]}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = {**machine.facts(), "trials": flags.trials, "found": found, **summary(found)}
    print(json.dumps(summary(found), indent=2))
    if flags.real:
        KEPT_REAL.write_text(json.dumps({**result, "gpu": machine.gpu()}, indent=2) + "\n")
    elif (flags.seeds, flags.trials) == (12, 60):
        KEPT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
