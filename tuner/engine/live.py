"""A live run: each event becomes a record, the record is on disk, and only then something acts on it. Free of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tuner.core import chance
from tuner.core.events import Elapsed, Event, Failed, Free, Gone, Reported, Returned, StopAsked
from tuner.core.records import Record, Report
from tuner.core.run import Core
from tuner.core.state import TrialState
from tuner.errors import ClusterError, RunFailed, TunerError, UserError
from tuner.ledger import Ledger
from tuner.trial import Assignment
from tuner.trial.checkpoint import is_whole

Answer = Literal["go", "stop"]
STREAK = 3
"""So many trials in a row with the same exception before their first report end the run."""


class LiveRun:
    """Hands out work, takes in what workers say, and answers whether a trial goes on."""

    def __init__(self, core: Core, ledger: Ledger, folder: str, publish: Callable[[Record], None]) -> None:
        self.core, self.ledger, self.folder, self.publish = core, ledger, folder, publish
        self.working: set[str] = set()
        """Trials that have a worker."""
        self.error: TunerError | None = None
        """Why the run cannot go on."""
        self.interrupted = False
        self._began = time.monotonic() - core.run.elapsed

    @property
    def over(self) -> bool:
        """Tell whether no more work will be handed out."""
        return self.error is not None or self.interrupted or bool(self.core.run.closed) or self.core.run.finished()

    def commit(self, event: Event) -> Record | None:
        """Decide, write down, apply: in this order."""
        record = self.core.decide(event)
        return None if record is None else self.write(record)

    def write(self, record: Record) -> Record | None:
        """Write a record down, then apply it; None where it cannot be written, and then nothing acts on it."""
        try:
            record = self.ledger.append(record)
        except OSError as error:
            # What is not on disk has not happened: nothing acts on it, and a resume decides it anew.
            self.error = ClusterError(
                f"the ledger of {self.folder} cannot be written: {error}. Make room, then resume."
            )
            return None
        self.core.apply(record)
        self.publish(record)
        return record

    def hand_out(self) -> Assignment | None:
        """Give the next free worker something to do: unfinished trials first, then what the core wants."""
        run = self.core.run
        if self.over or len(self.working) >= run.slots:
            return None
        while not (waiting := [t for t in run.having("running") if t.id not in self.working]):
            if self.commit(Free()) is None:
                return None
        self.working.add(waiting[0].id)
        return self._assignment(waiting[0])

    def heard(self, name: str, generation: int, event: dict[str, Any], node: str = "", worker: str = "") -> Answer:
        """Take in what a worker says of its trial."""
        self.tick()
        kind = event["event"]
        if kind == "report":
            self._reported(name, Reported(trial=name, generation=generation, node=node, worker=worker, **_facts(event)))
        elif kind == "lost":
            self.commit(Gone(trial=name, reason=event["reason"]))
        elif kind != "beat" and not self._is_misuse(name, event):
            self._ended(name, event)
        trial = self.core.run.trials[name]
        goes_on = trial.status == "running" and trial.generation == generation and self.error is None
        if goes_on and kind in ("beat", "report"):
            return "go"
        self.working.discard(name)
        return "stop"

    def lost(self, name: str, reason: str) -> None:
        """Take in that a trial's worker is gone."""
        self.working.discard(name)
        self.commit(Gone(trial=name, reason=reason))

    def tick(self) -> None:
        """Take in that time has gone by."""
        self.commit(Elapsed(seconds=time.monotonic() - self._began))

    def stop(self, name: str | None = None) -> None:
        """Take in that the user wants a trial, or the run, to stop."""
        self.commit(StopAsked(trial=name))

    def _reported(self, name: str, event: Reported) -> None:
        record = self.commit(event)
        cloning = self.core.spec.scheduler.kind == "pbt"
        if cloning and isinstance(record, Report) and record.decision.mark and not event.checkpoint:
            self.error = UserError(
                f"trial {name}: pbt copies weights, so the function must call trial.track(model=..., optimizer=...) "
                "before its first epoch, but it tracks nothing."
            )

    def _assignment(self, trial: TrialState) -> Assignment:
        spec, run = self.core.spec, self.core.run
        checkpoint, epoch = trial.checkpoint
        if checkpoint is not None and not is_whole(Path(self.folder) / checkpoint):
            checkpoint, epoch = None, 0  # torn by a loss of power: known epochs are trained again, and decided once
        return Assignment(
            run=self.folder,
            trial=trial.id,
            params={**spec.fixed, **trial.params},
            seed=chance.integer(spec.seed, "trial", trial.number),
            metric=spec.objective.metric,
            epochs=spec.budget.epochs,
            generation=trial.generation,
            attempt=f"{run.attempt}.{trial.losses}",
            checkpoint=checkpoint,
            epoch=epoch,
            cloned=trial.clone is not None and checkpoint == trial.clone.checkpoint,
            save_every=spec.checkpoint.every,
            save_at=self.core.rule.saved_epochs(),
            judged_at=self.core.rule.judged_epochs(),
            verify=run.best_saved is None,
            cpus=spec.resources.cpus,
            gpus=spec.resources.gpus,
        )

    def _ended(self, name: str, event: dict[str, Any]) -> None:
        if event["event"] == "returned":
            self.commit(Returned(trial=name))
            return
        self.commit(Failed(trial=name, outcome="failed", reason=event["reason"], error=event["error"]))
        same, last = self._streak()
        if same >= STREAK and last is not None:
            self.error = RunFailed(
                f"{same} trials in a row failed before their first report with the same error, so the run stops:\n"
                f"{last.error or last.reason}"
            )

    def _streak(self) -> tuple[int, TrialState | None]:
        """Count the trials that ended last, one after the other, with the same failure and no report."""
        ended = [trial for trial in self.core.run.trials.values() if trial.status == "ended"]
        last = ended[-1] if ended else None
        count = 0
        for trial in reversed(ended):
            if trial.outcome != "failed" or trial.reports or last is None or trial.reason != last.reason:
                break
            count += 1
        return count, last

    def _is_misuse(self, name: str, event: dict[str, Any]) -> bool:
        """Tell whether it is the code that is wrong, not this trial: the trial stays open for a resume.

        Once any trial has reported, the code is right as such.
        """
        if any(trial.reports for trial in self.core.run.trials.values()):
            return False
        if event["event"] == "returned":
            metric = self.core.spec.objective.metric
            self.error = UserError(
                f"trial {name}: the function returned without trial.report({metric}=...). Report it."
            )
        elif event.get("misuse"):
            self.error = UserError(f"trial {name}: {event['reason']}\n{event['error']}".rstrip())
        return self.error is not None


def _facts(event: dict[str, Any]) -> dict[str, Any]:
    return {key: event[key] for key in ("epoch", "metrics", "checkpoint", "seconds", "memory")}
