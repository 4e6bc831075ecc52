"""The job in plain Optuna: TPE and successive halving, and with what its example of checkpoints adds; it runs twice."""

import os

import optuna
import torch
from job import loader, network, run_epoch
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState


def objective(trial):
    lr = trial.suggest_float("lr", 1e-3, 100, log=True)
    momentum = trial.suggest_float("momentum", 0.5, 0.99)
    model = network(trial.suggest_categorical("width", [8, 16, 32]))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    first = 1
    for number in reversed(RetryHeartbeatStaleTrialCallback.retry_history(trial.study.trials[trial.number])):  # goes on
        if os.path.exists(f"checkpoints/{number}.pt"):  # goes on
            saved = torch.load(f"checkpoints/{number}.pt")  # goes on
            model.load_state_dict(saved["model"])  # goes on
            optimizer.load_state_dict(saved["optimizer"])  # goes on
            first, value = saved["epoch"] + 1, saved["value"]  # goes on
            break  # goes on
    for epoch in range(first, 10):
        value = run_epoch(model, optimizer, loader())
        trial.report(value, epoch)
        saved = {"epoch": epoch, "value": value, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(saved, f"checkpoints/{trial.number}.tmp")
        os.replace(f"checkpoints/{trial.number}.tmp", f"checkpoints/{trial.number}.pt")
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


os.makedirs("checkpoints", exist_ok=True)
storage = RDBStorage(
    "sqlite:///study.db",
    heartbeat_interval=1,  # goes on
    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),  # goes on
)
study = optuna.create_study(
    study_name="job",
    storage=storage,
    load_if_exists=True,
    pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
)
enough = MaxTrialsCallback(10, states=(TrialState.COMPLETE, TrialState.PRUNED))
study.optimize(objective, callbacks=[enough], catch=(RuntimeError,))
print("best", study.best_value, study.best_params, f"checkpoints/{study.best_trial.number}.pt")
