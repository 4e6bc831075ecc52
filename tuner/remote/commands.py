"""The commands that go to a cluster from afar: begin a run, rejoin one, ask for something short."""

from __future__ import annotations

import shlex
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner import ship
from tuner.called import called
from tuner.errors import ClusterError, Interrupted, Problem, TunerError, UserError, remedy
from tuner.remote.fetch import fetch, fetch_page
from tuner.remote.follow import follow, printer
from tuner.remote.jobs import AT, RUN, Jobs, lives, was_refused
from tuner.runs import RUNS, check_name, new_name
from tuner.spec.load import Loaded

FOLDER = "folder"
"""Key of a job's metadata: the name of the folder that travelled, empty where the head's own installation was used."""
JSON = "--json"


def begin(address: str, loaded: Loaded, name: str | None, overrides: Sequence[str], json: bool) -> int:
    """Submit a run, follow it and fetch its results; returns its exit code."""
    name = new_name(name, loaded.file)
    folder = ship.folder(loaded)
    jobs = Jobs(address)
    if (RUNS / name).exists() or any(not was_refused(job) for job in jobs.of(name)):
        fix = f"Choose another name, or rejoin it with --resume {name} --address {address}."
        raise UserError(Problem("--name", "", f"must be a new name, but a run {name} exists", fix))
    words = ["tuner", *_space(loaded, folder), "--name", name, *_sets(overrides), *([JSON] if json else [])]
    told = {**_metadata(loaded, name), FOLDER: folder.name if folder else ""}
    job = jobs.submit(words, name, folder, told)
    return _attend(jobs, job, name, json)


def rejoin(address: str, run: str, overrides: Sequence[str], json: bool) -> int:
    """Follow a run that goes on, or have one go on that stands still; fetch the results of one that is over.

    One that has to go on does so with the code of the current folder.
    """
    name, jobs = _name(run), Jobs(address)
    known = jobs.of(name)
    last = known[0] if known else None
    if last and (lives(last) or (str(last.status) == "SUCCEEDED" and not overrides)):
        _refuse_late(last, name, overrides, json)
        return _attend(jobs, last.submission_id, name, json, late=True)
    where = last.metadata.get(AT, name) if last else there({}, run)
    told = {key: value for key, value in last.metadata.items() if key != "job_name"} if last else {}
    folder = Path.cwd() if told.get(FOLDER, "unknown") else None
    if folder:
        ship.refuse_large(folder)
        told[FOLDER] = folder.name
    words = ["tuner", "--resume", where, *_sets(overrides), *([JSON] if json else [])]
    job = jobs.submit(words, name, folder, {**told, RUN: name, AT: where})
    return _attend(jobs, job, name, json)


def check(address: str, loaded: Loaded, overrides: Sequence[str]) -> int:
    """Have the head check what a run would need, and print what it says."""
    folder = ship.folder(loaded)
    return _ask(Jobs(address), [*_space(loaded, folder), "--check", *_sets(overrides)], folder)


def ask(address: str, flag: str, named: Sequence[str], more: Sequence[str] = ()) -> int:
    """Have the head do something short with runs or trials (`--stop`, `--report`, `--why`), and print what it says."""
    jobs = Jobs(address)
    places = jobs.places()
    return _ask(jobs, [flag, *(there(places, one, flag == "--stop") for one in named), *more], None)


def report(address: str, runs: Sequence[str]) -> int:
    """Have the head print what runs found, and bring their page into the current folder."""
    jobs = Jobs(address)
    places = jobs.places()
    named = [there(places, run) for run in runs]
    try:
        code, page = fetch_page(jobs, named, Path())
    except (OSError, tarfile.TarError) as error:
        raise ClusterError(f"the page could not be fetched: {error}. {remedy(error)}") from error
    if page is not None:
        print(f"Fetched:      {page}", file=sys.stderr)
    return code


def _ask(jobs: Jobs, words: Sequence[str], folder: Path | None) -> int:
    job = jobs.submit(["tuner", *words], " ".join(word.removeprefix("--") for word in words), folder, {})
    return follow(jobs, job, printer(json=False))


def there(places: Mapping[str, str], text: str, to_stop: bool = False) -> str:
    """Name a run, or RUN/TRIAL, as the head finds it; `places` tells where the runs lie, by their names.

    One at a URL is driven in a folder of the head, which is where a stop is heard.
    """
    text = text.rstrip("/").removeprefix(f"{RUNS}/")  # as the shell completes what was fetched
    for name, place in places.items():
        for known in (name, place):
            if text == known or text.startswith(f"{known}/"):
                return (name if to_stop and "://" in place else place) + text[len(known) :]
    return text


def _refuse_late(job: Any, run: str, overrides: Sequence[str], json: bool) -> None:
    """Raise UserError where a job was begun without what is asked of it now."""
    if overrides:
        raise UserError(
            f"--set: must be given when {run} stands still, but it is being driven. Stop it first with --stop {run}."
        )
    if json and JSON not in shlex.split(job.entrypoint):
        raise UserError(f"--json: must be given when a run begins, but {run} was begun without it. Leave it out.")


def _attend(jobs: Jobs, job: str, run: str, json: bool, late: bool = False) -> int:
    """Follow a run's job to its end, then fetch what there is."""
    again = f"--resume {run} --address {jobs.address}"
    say = f"Job {job} on {jobs.address}: Ctrl-C leaves it, and it goes on; rejoin it with {again}"
    print(say, file=sys.stderr, flush=True)
    try:
        code = follow(jobs, job, printer(json), late)
    except KeyboardInterrupt:
        print(f"\nThe run goes on. Rejoin it:  {called()} {again}", file=sys.stderr)
        print(f"Stop it:  {called()} --stop {run} --address {jobs.address}", file=sys.stderr)
        raise Interrupted("left") from None
    if code == UserError.exit_code:
        return code
    try:
        info = jobs.info(job)
        folder = fetch(jobs, info.metadata.get(AT, run), RUNS)
    except (TunerError, OSError, tarfile.TarError) as error:
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
        spec.goal,
    }  # fmt: skip


def _name(run: str) -> str:
    """Name a run that was given by its name, its folder, or a URL."""
    return check_name(run.rstrip("/").rpartition("/")[2])
