"""Weights & Biases: a run for each trial, all of them in one group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb

from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.outputs.loggers.metrics import best_value, values
from tuner.outputs.loggers.sent import SentFile, Taken
from tuner.spec.loggers import Wandb
from tuner.storage import delete_folder

BEST = "best"
"""The tag of the best trial."""
GOOD = ("finished", "stopped", None)
INIT_SECONDS, FINISH_SECONDS = 30.0, 30.0
"""How long W&B may take to begin a run, and to send what is left of one."""
SENT = "sent.jsonl"


@dataclass(slots=True)
class Sent:
    """What W&B has of a trial."""

    run: Any
    folder: Path
    """Where the run's own files lie."""
    tags: tuple[str, ...] = ()
    reports: int = 0
    generation: int = 0
    outcome: str | None = None
    is_open: bool = True


class WandbRuns:
    """Sends trials to Weights & Biases, or keeps them in the run's folder for `wandb sync`.

    A run's id is made of the tuner run and the trial, and a report's step is its number: so a resume goes on with the
    same W&B runs. Online what was sent is kept in a file, and a trial of which all was sent is not begun again. Offline
    the files are begun anew by each driver.
    """

    name = "W&B"
    patience = max(INIT_SECONDS, FINISH_SECONDS) + 5.0

    def __init__(self, logger: Wandb, folder: Path) -> None:
        self.logger, self.folder = logger, folder
        self._identity = ""
        self._sent: dict[str, Sent] = {}
        self._before: SentFile | None = None
        """What earlier drivers, and this one, have sent; None offline."""

    def begin(self, run: RunState, identity: str) -> None:
        """Start W&B's own process."""
        self._identity = identity
        wandb.setup(settings=wandb.Settings(silent=True))  # else it would ask for a key, at a terminal that is ours
        if self.logger.mode == "offline":
            delete_folder(self.folder / "wandb")
        else:
            place = f"{wandb.setup().settings.base_url} {self.logger.entity or ''}/{self.logger.project}"
            self._before = SentFile(self.folder / "wandb" / SENT, place)

    def update(self, trial: TrialState, run: RunState) -> Iterator[None]:
        """Log the reports that are new, and the end."""
        sent = self._sent.get(trial.id)
        if sent is None or not sent.is_open:
            now = self._taken(trial.id) if sent is None else Taken(sent.reports, sent.outcome)
            came = len(trial.reports)
            if now and (came < now.reports or (came, trial.outcome) == (now.reports, now.outcome)):
                return  # it has all of it, and more where the ledger is still being read
            sent = self._open(trial, run)
            yield
        self._log(sent, trial, run)
        if trial.outcome is not None:
            self._end(trial)

    def finish(self, run: RunState) -> Iterator[None]:
        """Give the best trial its tag, which another one may have had, and end all runs."""
        best = run.trials[run.best.trial] if run.best else None
        for name in [name for name, sent in self._sent.items() if sent.is_open]:
            if best is None or name != best.id:
                self._end(run.find(name))
                yield
        for trial in run.trials.values():
            tags = (BEST,) if trial is best else ()
            taken = self._taken(trial.id)
            if (trial is best and taken != Taken(len(trial.reports), trial.outcome, [BEST])) or (
                trial is not best and taken and taken.tags
            ):
                self._log(self._open(trial, run, tags), trial, run)
                yield
                self._end(trial)
                yield

    def _taken(self, name: str) -> Taken | None:
        return self._before.taken.get(self._id(name)) if self._before else None

    def _id(self, name: str) -> str:
        return f"{self._identity}-{name}"

    def _open(self, trial: TrialState, run: RunState, tags: tuple[str, ...] = ()) -> Sent:
        """Begin the trial's run, or go on with it; offline it is written anew."""
        before = self._sent.get(trial.id)
        if before and before.is_open:
            self._end(trial)
        if before and self.logger.mode == "offline":
            delete_folder(before.folder)
        made = wandb.init(
            project=self.logger.project, entity=self.logger.entity, mode=self.logger.mode, dir=self.folder,
            id=self._id(trial.id), resume="allow", reinit="create_new",
            name=trial.id, group=run.name, job_type="repeat" if trial.of else "trial",
            config={**run.spec.fixed, **trial.params}, tags=tags,
            settings=_settings(),
        )  # fmt: skip
        made.tags = (*(tag for tag in made.tags or () if tag != BEST), *tags)
        made.define_metric("epoch", hidden=True)
        made.define_metric("*", step_metric="epoch")
        there = taken.reports if (taken := self._taken(trial.id)) else 0
        self._sent[trial.id] = Sent(made, Path(made.dir).parent, tags, there, generation=trial.generation)
        return self._sent[trial.id]

    def _log(self, sent: Sent, trial: TrialState, run: RunState) -> None:
        for number, report in enumerate(trial.reports[sent.reports :], sent.reports):
            more = {"epoch": report.epoch, "_timestamp": report.time}
            sent.run.log({**values(report, trial, run), **more}, step=number)
            sent.reports = number + 1
        if sent.generation != trial.generation:
            sent.run.config.update(trial.params, allow_val_change=True)
            sent.generation = trial.generation
        if (best := best_value(trial, run)) is not None:
            sent.run.summary[f"best/{run.spec.objective.metric}"] = best

    def _end(self, trial: TrialState) -> None:
        """End the trial's run; raises where W&B does not take in all of it, and update then goes on with it."""
        sent = self._sent.pop(trial.id)
        sent.run.summary.update({"outcome": trial.outcome or trial.status, "reason": trial.reason})
        sent.run.finish(exit_code=0 if trial.outcome in GOOD else 1)
        sent.outcome, sent.is_open = trial.outcome, False
        self._sent[trial.id] = sent
        if self._before is not None:
            self._before.note(self._id(trial.id), Taken(sent.reports, trial.outcome, list(sent.tags)))


def _settings() -> Any:
    """Keep W&B off the terminal, off this machine's load, and from telling what it is called: trials run elsewhere."""
    return wandb.Settings(
        silent=True, console="off", disable_code=True, disable_git=True, x_disable_stats=True, x_disable_meta=True,
        x_save_requirements=False, host="tuner", init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )  # fmt: skip
