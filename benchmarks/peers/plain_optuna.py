"""(d) Two plain Optuna processes on one journal file, with Optuna's own successive halving; a checkpoint each epoch."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from benchmarks.peers.job import Job, arguments, job_of, run_together, write_line

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


def storage(work: Path) -> JournalStorage:
    """Open the journal that both processes share."""
    return JournalStorage(JournalFileBackend(str(work / "study.journal")))


def objective(job: Job, out: Path, work: Path) -> Any:
    """Make the objective: report and ask for pruning each epoch, as in Optuna's own example for PyTorch."""

    def run(ask: optuna.Trial) -> float:
        from benchmarks.peers.shim import PeerTrial

        params = {**job.fixed, **job.optuna_params(ask)}
        folder = work / str(ask.number)
        folder.mkdir()
        trial = PeerTrial(str(ask.number), params, job.epochs, job.seed, folder)
        last = float("nan")

        def on_report(epoch: int, seconds: float, metrics: dict[str, float]) -> None:
            nonlocal last
            write_line(out, trial.id, epoch, seconds)
            trial.save(folder / "checkpoint.pt")
            last = metrics[job.metric]
            ask.report(last, epoch)
            if ask.should_prune():
                raise optuna.TrialPruned

        trial.on_report = on_report
        job.function()(trial, **params)
        return last

    return run


def loop(job: Job, out: Path, work: Path, place: int) -> None:
    """Take trials from the shared study until as many as asked for have begun."""
    study = optuna.load_study(
        study_name="job",
        storage=storage(work),
        sampler=optuna.samplers.TPESampler(seed=job.seed + place),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=job.grace, reduction_factor=job.factor),
    )
    study.optimize(objective(job, out, work), callbacks=[MaxTrialsCallback(job.trials, states=COUNTED)])


def main() -> None:
    """Create the study, start the two processes and wait."""
    flags = arguments(__doc__ or "").parse_args()
    job = job_of(flags)
    flags.work.mkdir(parents=True, exist_ok=True)
    optuna.create_study(study_name="job", storage=storage(flags.work), direction=f"{job.mode}imize")
    context = multiprocessing.get_context("spawn")
    pair = [context.Process(target=loop, args=(job, flags.out, flags.work, place)) for place in range(2)]
    run_together(pair)


if __name__ == "__main__":
    main()
