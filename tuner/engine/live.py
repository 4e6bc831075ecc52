"""A live run: each event becomes a record, the record is on disk, and only then something acts on it. Free of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tuner.core.events import Due, Elapsed, Event, Failed, Free, Gone, Measured, Reported, Returned, Silent, StopAsked
from tuner.core.records import Disk, Ended, Given, Record, Report
from tuner.core.run import Core
from tuner.core.trial import TrialState
from tuner.engine.assign import assign
from tuner.engine.fleet import Fleet, Look, Still
from tuner.engine.placement import Placement
from tuner.engine.room import Room
from tuner.engine.stops import Stops
from tuner.errors import ClusterError, RunFailed, TunerError, UserError
from tuner.ledger import Ledger
from tuner.storage import is_full
from tuner.trial import Assignment

Answer = Literal["go", "stop"]
FACTS = ("epoch", "metrics", "checkpoint", "seconds", "memory", "gpu_memory", "step", "context")
"""What a worker tells with a report."""


class LiveRun:
    """Hands out work, takes in what workers say, and answers whether a trial goes on."""

    def __init__(
        self,
        core: Core,
        ledger: Ledger,
        folder: str,
        publish: Callable[[Record], None],
        placement: Placement,
        say: Callable[[str], None] = lambda text: None,
        look: Look | None = None,
    ) -> None:
        """Without a `look` the machines stay what they are."""
        self.placement = placement
        self.core, self.ledger, self.folder, self.publish, self.say = core, ledger, folder, publish, say
        self.storage = ""
        """The run's URL, where it is stored at one."""
        self.waits: Callable[[str], None] = lambda problem: None
        """Told why what a trial saves cannot be put there yet."""
        self.working: set[str] = set()
        """Trials that have a worker."""
        self.error: TunerError | None = None
        """Why the run cannot go on."""
        self.interrupted = False
        self.stops = Stops(Path(folder), say)
        self.fleet = Fleet(core, placement, self.stops, look or Still(), self.write)
        self.room = Room(Path(folder))
        self.room.keep_reserve()
        self._began = time.monotonic() - core.run.elapsed

    @property
    def over(self) -> bool:
        """Tell whether no more work will be handed out."""
        return self.error is not None or self.interrupted or self.stops.all or self.core.run.finished()

    def comes_to_end(self) -> bool:
        """Bring a stop by hand on its way; tell whether what still runs may be killed now."""
        if self.error is not None or self.core.run.is_closed:
            return True
        if self.interrupted:
            self.stops.stop_all()
        if not self.stops.all or (self.working and not self.stops.due()):
            return False
        if not self.interrupted:
            self.commit(StopAsked())
        return True

    def commit(self, event: Event) -> Record | None:
        """Decide, write down, apply: in this order."""
        record = self.core.decide(event)
        written = None if record is None else self.write(record)
        if isinstance(written, Ended) and self.core.run.streak.is_over:
            count = len(self.core.run.streak.trials)
            self.error = RunFailed(
                f"{count} trials in a row failed before their first report with the same error, so the run stops:\n"
                f"{written.error or written.reason}"
            )
        return written

    def write(self, record: Record) -> Record | None:
        """Write a record down, then apply it; None where it cannot be written, and then nothing acts on it."""
        while True:
            try:
                return self._take_in(record)
            except OSError as error:
                # What is not on disk has not happened: nothing acts on it, and a resume decides it anew.
                if is_full(error) and self._wait_for_room():
                    continue
                problem = f"the ledger of {self.folder} cannot be written: {error}. Mend that, then resume."
                self.error = ClusterError(problem)
                return None

    def _take_in(self, record: Record) -> Record:
        written = self.ledger.append(record)
        self.core.apply(written)
        self.publish(written)
        return written

    def hand_out(self) -> Assignment | None:
        """Give the next free worker something to do: unfinished trials first, then what the core wants."""
        self.tick()  # where nothing runs, Ray asks for work and for nothing else
        run = self.core.run
        if self.over or run.full:
            return None
        self.fleet.follow(self.working)
        if len(self.working) >= run.slots:
            return None
        trial = self._next()
        if trial is None:
            return None
        share = self.fleet.take(trial.id, self.placement.want(trial, run.gpus))
        if share is None:
            return None
        self.working.add(trial.id)
        given = Given(trial=trial.id, cpus=share.cpus, gpus=share.gpus, memory=share.memory, probe=share.probe)
        if (share.gpus or trial.given) and trial.given != given:
            self.write(given)
        return assign(self.core, trial, self.folder, share, self.storage)

    def _next(self) -> TrialState | None:
        """Find the trial that is to be handed out next, and that has a chance."""
        while True:
            trial = next((t for t in self.core.run.having("running") if t.id not in self.working), None)
            if trial is None and self.commit(Free()) is None:
                return None
            if trial is not None and self.commit(Due(trial=trial.id)) is None:
                return trial

    def _leaves(self, name: str) -> None:
        """Take in that a trial has no worker any more."""
        self.working.discard(name)
        self.fleet.give_back(name)

    def heard(self, name: str, generation: int, event: dict[str, Any], node: str = "", worker: str = "") -> Answer:
        """Take in what a worker says of its trial."""
        self.tick()
        if problem := event.get("waits"):
            self.waits(problem)
        kind, saved = event["event"], bool(event.get("checkpoint"))
        if kind == "report":
            facts = {key: event[key] for key in FACTS if key in event}
            together = 0 if event.get("inherited") else self.placement.together(name)
            where: dict[str, Any] = {"together": together, "node": node, "worker": worker}
            self._reported(name, Reported(trial=name, generation=generation, **where, **facts))
            if saved and (stop := self.stops.after_report(name)) is not None:
                self.commit(stop)
        elif kind == "probed":
            self.commit(Measured(trial=name, **{key: event[key] for key in ("gpu_memory", "context", "step")}))
        elif kind == "full":
            self._is_full()
        elif kind == "lost":
            self._lost(name, event)
        elif kind != "beat" and not self._is_misuse(name, event):
            self._ended(name, event)
        trial = self.core.run.find(name)
        goes_on = trial.status == "running" and trial.generation == generation and self.error is None
        if goes_on and saved and self.placement.leaves_soon(name):
            self.commit(Gone(trial=name, reason="its machine is about to be taken away", cause="machine"))
            goes_on = False
        if goes_on and kind == "beat":
            goes_on = self.commit(Silent(trial=name, seconds=event["silent"])) is None
        if goes_on and (kind in ("beat", "full") or (kind == "report" and not (self.stops.all and saved))):
            return "go"
        self._leaves(name)
        return "stop"

    def taken_back(self, name: str, reason: str) -> None:
        """Take in that a trial does not get the machine that it was to have."""
        self._leaves(name)
        self.commit(Gone(trial=name, reason=reason, cause="machine"))

    def lost(self, name: str, reason: str, machine: str = "") -> None:
        """Take in that a trial's worker is gone, and with it perhaps a machine."""
        self._leaves(name)
        if machine:
            self.fleet.died(machine, self.working)
        self.commit(Gone(trial=name, reason=reason, cause="machine" if machine else "worker"))

    def tick(self) -> None:
        """Take in that time has gone by, what the user asks for, and that there is room again."""
        self.commit(Elapsed(seconds=self._elapsed()))
        if not self.stops.look():
            return
        self.error = self.error or self.fleet.looks(self.working, self.over)
        for stop in self.stops.ready(self.core.run, self.working):
            self.commit(stop)
        if self.core.run.full and self.room.is_there():
            self.room.keep_reserve()
            self.write(Disk(full=False, free=self.room.free()))

    def close(self) -> None:
        """Leave nothing behind that speaks of a live run."""
        self.stops.close()
        self.room.use_reserve()

    def _lost(self, name: str, event: dict[str, Any]) -> None:
        cause = event.get("cause", "worker")
        if cause == "disk":
            self._is_full()
        self.commit(Gone(trial=name, reason=event["reason"], cause=cause))

    def _is_full(self) -> None:
        """Take in that a trial finds no room: no other is begun until there is some."""
        self.room.complain()
        if not self.core.run.full:
            self.write(Disk(full=True, free=self.room.use_reserve()))

    def _wait_for_room(self) -> bool:
        """Wait a moment before the ledger is tried again; False where nobody wants to wait any longer."""
        self.room.complain()
        free = self.room.use_reserve()
        if not self.core.run.full:
            try:
                self._take_in(Disk(full=True, free=free))
                return True  # the reserve has made room, for what could not be written too
            except OSError:
                self.say(f"the disk of {self.folder} is full; the run waits for room")
        time.sleep(1)
        self.stops.look()
        return not (self.interrupted or self.stops.all or self._hours_are_over())

    def _hours_are_over(self) -> bool:
        return self.core.decide(Elapsed(seconds=self._elapsed())) is not None

    def _elapsed(self) -> float:
        """Measure the time of all sessions, in seconds."""
        return time.monotonic() - self._began

    def _reported(self, name: str, event: Reported) -> None:
        record = self.commit(event)
        if isinstance(record, Report) and not event.checkpoint and (why := self._misses_checkpoint(record)):
            self.error = UserError(
                f"trial {name}: {why}, so the function must call trial.track(model=..., optimizer=...) before its "
                "first epoch, or give tune.report a checkpoint where it is a plain Ray function, but it saves nothing."
            )

    def _misses_checkpoint(self, report: Report) -> str:
        """Say who needs a checkpoint at a report that has none; empty where nobody does."""
        kind, decision = self.core.spec.scheduler.kind, report.decision
        if kind in ("pbt", "auto") and decision.mark:
            return "pbt copies weights" if kind == "pbt" else "auto pauses trials"
        pauses = decision.action == "pause" and self.core.run.find(report.trial).best_saved is None
        return "promote pauses trials" if pauses else ""

    def _ended(self, name: str, event: dict[str, Any]) -> None:
        if event["event"] == "returned":
            self.commit(Returned(trial=name))
            return
        outcome = event.get("outcome", "failed")
        more = {key: event.get(key, False) for key in ("splits", "on_gpu")}
        self.commit(Failed(trial=name, outcome=outcome, reason=event["reason"], error=event["error"], **more))

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
