"""Jobs of Ray's: one for each command that a user gives from afar, with the run's name in its metadata."""

from __future__ import annotations

import getpass
import logging
import re
import secrets
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner import ship
from tuner.errors import ClusterError, UserError

RUNS_THERE = "~/runs"
"""Where runs lie on the head, below the home of whoever runs Ray there, unless the YAML names a storage."""
STARTING = "No available agent"
"""What a head answers that has just begun."""
START_SECONDS = 60.0
OVER = ("SUCCEEDED", "FAILED", "STOPPED")
RUN = "run"
"""Key of a job's metadata that holds the name of the run which it drives."""
AT = "at"
"""Key of a job's metadata that says where the run lies, as `--resume` takes it on the head."""


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        """Connect; raises ClusterError."""
        from ray.job_submission import JobSubmissionClient

        from tuner.engine import token

        logging.disable(logging.WARNING)  # Ray tells of its packages and tokens
        token.send()
        self.address = address.rstrip("/")
        try:
            self.client = JobSubmissionClient(self.address)
        except Exception as error:  # Ray raises its own, those of requests, and RuntimeError
            raise unreachable(self.address, error) from None

    def submit(self, words: Sequence[str], title: str, folder: Path | None, metadata: dict[str, str]) -> str:
        """Have the head run `python -m` with these words, in a copy of this folder; returns the job's id."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", title)
        environment = {"env_vars": {"TUNER_RUNS": RUNS_THERE}, **ship.environment(folder)}
        told = {"job_name": title, "user": getpass.getuser(), **metadata}
        entrypoint = shlex.join(["python", "-m", *words])
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                job = f"{slug}-{secrets.token_hex(3)}"
                return str(self.client.submit_job(
                    entrypoint=entrypoint, runtime_env=environment, metadata=told, submission_id=job
                ))  # fmt: skip
            except Exception as error:
                if STARTING not in str(error) or time.monotonic() > deadline:
                    raise unreachable(self.address, error) from None
            time.sleep(1)

    def of(self, run: str) -> list[Any]:
        """List the jobs that drive, or drove, a run: one that lives first, one that was refused last, else the newest.

        Raises ClusterError.
        """
        jobs = [job for job in self._all() if job.metadata[RUN] == run]
        return sorted(jobs, key=lambda job: (not lives(job), was_refused(job), -(job.start_time or 0)))

    def places(self) -> dict[str, str]:
        """Tell where the runs lie, by their names, as `--resume` takes it on the head. Raises ClusterError."""
        known = sorted(self._all(), key=lambda job: (not was_refused(job), job.start_time or 0))
        return {job.metadata[RUN]: job.metadata.get(AT, job.metadata[RUN]) for job in known}

    def _all(self) -> list[Any]:
        """List the jobs that drive, or drove, a run."""
        try:
            return [job for job in self.client.list_jobs() if job.submission_id and RUN in (job.metadata or {})]
        except Exception as error:  # Ray raises its own, those of requests, and RuntimeError
            raise unreachable(self.address, error) from None

    def info(self, job: str) -> Any:
        """Ask how a job stands. Raises ClusterError."""
        try:
            return self.client.get_job_info(job)
        except Exception as error:
            raise unreachable(self.address, error) from None


def lives(job: Any) -> bool:
    """Tell whether a job waits or runs."""
    return str(job.status) not in OVER


def was_refused(job: Any) -> bool:
    """Tell whether a job ended by a mistake of the user's: mostly it has never had a run."""
    return str(job.status) == "FAILED" and job.driver_exit_code == UserError.exit_code


def unreachable(address: str, error: Exception) -> ClusterError:
    """Say that a cluster does not do what it is asked."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ClusterError(
        f"--address: must be the dashboard of a Ray cluster, but {address} does not answer as one ({first}). Open it "
        "with `ray dashboard cluster.yaml`, and have the cluster's token in ~/.ray/auth_token."
    )
