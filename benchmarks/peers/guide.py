"""(b) Ray Tune + Optuna as Ray's guide stands, and (c) the same with `--reuse`: reuse_actors=True."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers.job import Job, arguments, job_of, write_line


def trainable(job: Job, out: Path) -> Any:
    """Make the function trainable: a report with a checkpoint each epoch, as in Ray's guide to PyTorch."""

    def train(config: dict[str, Any]) -> None:
        from benchmarks.peers.shim import PeerTrial

        context = tune.get_context()
        folder = Path(context.get_trial_dir())
        params = {**job.fixed, **config}
        trial = PeerTrial(context.get_trial_id(), params, job.epochs, job.seed, folder)

        def on_report(epoch: int, seconds: float, metrics: dict[str, float]) -> None:
            write_line(out, trial.id, epoch, seconds)
            with tempfile.TemporaryDirectory() as saved:
                trial.save(Path(saved) / "checkpoint.pt")
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(saved))

        trial.on_report = on_report
        job.function()(trial, **params)

    return train


def tuner(job: Job, out: Path, work: Path, reuse: bool) -> tune.Tuner:
    """Put the guide's pieces together, its defaults left as they are."""
    return tune.Tuner(
        tune.with_resources(trainable(job, out), {"cpu": 1}),
        param_space=job.ray_space(),
        tune_config=tune.TuneConfig(
            metric=job.metric,
            mode=job.mode,
            num_samples=job.trials,
            reuse_actors=reuse,
            search_alg=OptunaSearch(seed=job.seed),
            scheduler=ASHAScheduler(max_t=job.epochs, grace_period=job.grace, reduction_factor=job.factor),
        ),
        run_config=tune.RunConfig(storage_path=str(work), name="run"),
    )


def main() -> None:
    """Start a local Ray of two CPUs without its dashboard, tune, and shut that Ray down."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--ray-temp", required=True, help="short path under /tmp for this Ray alone")
    flags = parser.parse_args()
    ray.init(address="local", num_cpus=2, include_dashboard=False, _temp_dir=flags.ray_temp)
    results = tuner(job_of(flags), flags.out.resolve(), flags.work.resolve(), flags.reuse).fit()
    ray.shutdown()
    raise SystemExit(1 if results.num_errors else 0)


if __name__ == "__main__":
    main()
