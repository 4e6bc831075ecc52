"""The job in plain Ray Tune with OptunaSearch and ASHA, and with what its guide to fault tolerance adds."""

import os
import tempfile

import torch
from job import loader, network, run_epoch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch


def train(config):
    model = network(config["width"])
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=config["momentum"])
    first = 1
    if checkpoint := tune.get_checkpoint():  # goes on
        with checkpoint.as_directory() as folder:  # goes on
            saved = torch.load(os.path.join(folder, "checkpoint.pt"))  # goes on
        model.load_state_dict(saved["model"])  # goes on
        optimizer.load_state_dict(saved["optimizer"])  # goes on
        first = saved["epoch"] + 1  # goes on
    for epoch in range(first, 10):
        value = run_epoch(model, optimizer, loader())
        saved = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        with tempfile.TemporaryDirectory() as folder:
            torch.save(saved, os.path.join(folder, "checkpoint.pt"))
            tune.report({"val_loss": value}, checkpoint=tune.Checkpoint.from_directory(folder))


path = os.path.abspath("ray_results")
if tune.Tuner.can_restore(os.path.join(path, "job")):  # goes on
    tuner = tune.Tuner.restore(os.path.join(path, "job"), trainable=train, resume_errored=True)  # goes on
else:  # goes on
    tuner = tune.Tuner(
        train,
        param_space={
            "lr": tune.loguniform(1e-3, 100),
            "momentum": tune.uniform(0.5, 0.99),
            "width": tune.choice([8, 16, 32]),
        },
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            num_samples=10,
            reuse_actors=True,
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        ),
        run_config=tune.RunConfig(
            name="job",
            storage_path=path,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            failure_config=tune.FailureConfig(max_failures=3),  # goes on
        ),
    )
best = tuner.fit().get_best_result()
print("best", best.metrics["val_loss"], best.config, best.checkpoint)
