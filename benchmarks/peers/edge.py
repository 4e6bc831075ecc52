"""Ray Tune with OptunaSearch on the model of benchmarks/edge.py: seed, trials, card and the file for the result."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def train(config: dict[str, Any]) -> None:
    """Do what `benchmarks.edge.train` does, as a function of Ray Tune's."""
    import torch
    from ray import tune

    from benchmarks import edge
    from tuner.trial.simulated import SimulatedGpu

    params = {key: config[key] for key in ("width", "batch", "depth")}
    if config["card"] is None:
        on_the_gpu(**params)
        tune.report({"score": edge.score(config["lr"], **params)})
        return
    with SimulatedGpu(config["card"]).held():
        model = edge.layers(params["width"], params["depth"])
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        loader = torch.utils.data.DataLoader(torch.ones(edge.STEPS * params["batch"], 32), batch_size=params["batch"])
        for inputs in loader:
            edge.step(model, optimizer, inputs)
    tune.report({"score": edge.score(config["lr"], **params)})


def on_the_gpu(width: int, batch: int, depth: int) -> None:
    """Do what `benchmarks.edge_gpu.train` does, on a GPU on which the trial before has left nothing."""
    import gc

    import torch

    from benchmarks import edge_gpu

    gc.collect()
    torch.cuda.empty_cache()
    model = edge_gpu.layers(width, depth, torch.device("cuda"))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for rows in edge_gpu.batches(batch):
        edge_gpu.step(model, optimizer, rows, width)


def main() -> None:
    """Tune, and write down what came of it."""
    seed, trials, card, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False)
    space = {
        "lr": tune.loguniform(1e-4, 1.0),
        "width": tune.choice([32, 64, 128, 256, 512]),
        "batch": tune.lograndint(16, 513),
        "depth": tune.randint(1, 9),
        "card": None if card == "real" else int(card.removesuffix("MiB")) * 2**20,
    }
    results = tune.Tuner(
        tune.with_resources(train, {"cpu": 1, "gpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="score", mode="max", num_samples=trials, reuse_actors=True, search_alg=OptunaSearch(seed=seed)
        ),
        run_config=tune.RunConfig(storage_path=os.environ["RAY_TMPDIR"], name=f"edge-{seed}"),
    ).fit()
    errors = [result.error for result in results if result.error is not None]
    assert all("OutOfMemoryError" in str(error) for error in errors), errors
    told = {"out_of_memory": len(errors), "best": results.get_best_result().metrics["score"]}
    out.write_text(json.dumps(told))
    ray.shutdown()


if __name__ == "__main__":
    main()
