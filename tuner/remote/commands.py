"""The commands that go to a cluster from afar: begin a run, rejoin one, ask for something short."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tuner import ship
from tuner.errors import Interrupted, Problem, TunerError, UserError
from tuner.remote.fetch import fetch
from tuner.remote.follow import follow, printer
from tuner.remote.jobs import OVER, RUN, Jobs
from tuner.runs import RUNS, check_name, default_name
from tuner.spec.load import Loaded

HERE = Path("runs")
"""Results are put where those of runs here lie."""
AT = "at"
"""Key of a job's metadata that says where the run lies, as `--resume` takes it on the head."""


def begin(address: str, loaded: Loaded, name: str | None, overrides: Sequence[str], json: bool) -> int:
    """Submit a run, follow it and fetch its results; returns its exit code."""
    name = check_name(name or default_name(loaded.file))
    folder = ship.folder(loaded)
    jobs = Jobs(address)
    if (RUNS / name).exists() or jobs.of(name):
        fix = f"Choose another name, or rejoin it with --resume {name} --address {address}."
        raise UserError(Problem("--name", "", f"must be a new name, but a run {name} exists", fix))
    words = ["tuner", *_space(loaded, folder), "--name", name, *_sets(overrides)]
    job = jobs.submit(words, name, folder, _metadata(loaded, name))
    return _attend(jobs, job, name, json)


def rejoin(address: str, run: str, overrides: Sequence[str], json: bool) -> int:
    """Follow a run that goes on, or have one go on that stands still; fetch the results of one that is over."""
    name, jobs = _name(run), Jobs(address)
    known = jobs.of(name)
    if known and str(known[0].status) not in OVER:
        return _attend(jobs, known[0].submission_id, name, json, late=True)
    if known and str(known[0].status) == "SUCCEEDED" and not overrides:
        return _attend(jobs, known[0].submission_id, name, json, late=True)
    where = known[0].metadata[AT] if known else run
    here = Path.cwd()
    ship.refuse_large(here)
    told = {key: value for key, value in known[0].metadata.items() if key != "job_name"} if known else {}
    job = jobs.submit(["tuner", "--resume", where, *_sets(overrides)], name, here, {**told, RUN: name, AT: where})
    return _attend(jobs, job, name, json)


def ask(address: str, words: Sequence[str], loaded: Loaded | None = None) -> int:
    """Have the head do something short (`--check`, `--stop`, `--report`, `--why`), and print what it says."""
    folder = ship.folder(loaded) if loaded else None
    jobs = Jobs(address)
    asked = [*(_space(loaded, folder) if loaded else []), *words]
    job = jobs.submit(["tuner", *asked], " ".join(word.removeprefix("--") for word in asked), folder, {})
    return follow(jobs, job, printer(json=False))


def _attend(jobs: Jobs, job: str, run: str, json: bool, late: bool = False) -> int:
    """Follow a run's job to its end, then fetch what there is."""
    again = f"--resume {run} --address {jobs.address}"
    say = f"Job {job} on {jobs.address}: Ctrl-C leaves it, and it goes on; rejoin it with {again}"
    print(say, file=sys.stderr, flush=True)
    try:
        code = follow(jobs, job, printer(json), late)
    except KeyboardInterrupt:
        print(f"\nThe run goes on. Rejoin it:  python launch.py {again}", file=sys.stderr)
        print(f"Stop it:  python launch.py --stop {run} --address {jobs.address}", file=sys.stderr)
        raise Interrupted("left") from None
    if code == UserError.exit_code:
        return code
    info = jobs.info(job)
    try:
        folder = fetch(jobs, info.metadata.get(AT, run), HERE)
    except (TunerError, OSError) as error:
        print(f"The results could not be fetched: {error}", file=sys.stderr)
        return code
    print(f"Fetched:      {folder} (checkpoints stay on the cluster)", file=sys.stderr)
    return code


def _space(loaded: Loaded, folder: Path | None) -> list[str]:
    """Name the YAML as the head finds it: in what travels, else by its name."""
    file = loaded.file.resolve()
    inside = folder is not None and file.is_relative_to(folder)
    return ["--space", str(file.relative_to(folder)) if inside and folder else file.name]


def _sets(overrides: Sequence[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def _metadata(loaded: Loaded, name: str) -> dict[str, str]:
    """Say in the job's metadata what the run is; Ray takes texts alone."""
    spec = loaded.experiment
    storage = spec.storage
    if storage and "://" not in storage and not Path(storage).is_absolute():
        raise UserError(f"storage: must be an absolute folder or a URL for a run on a cluster, but got {storage}.")
    return {
        RUN: name, AT: f"{storage.rstrip('/')}/{name}" if storage else name, "space": loaded.file.name,
        "trainable": loaded.trainable.ref, "params": ", ".join(spec.space), "budget":
        f"{spec.trials} trials of {spec.budget.epochs} epochs", "objective":
        f"{spec.objective.mode} {spec.objective.metric}",
    }  # fmt: skip


def _name(run: str) -> str:
    """Name a run that was given by its name, its folder, or a URL."""
    return check_name(run.rstrip("/").rpartition("/")[2])
