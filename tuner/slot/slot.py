"""A slot: it runs one trial after another, each in a process of its own, and always answers within a beat."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import deque
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

from tuner.slot import fence, ray_session
from tuner.slot.adopt import adopt
from tuner.slot.code import Code
from tuner.slot.launcher import Fresh, Launcher, Lost, Refused, log_name, zygote
from tuner.slot.process import Child, Event, note_overdue
from tuner.slot.ranks import Ranks, launch
from tuner.slot.remote import Remote
from tuner.storage import is_full, write_whole
from tuner.trial import Assignment
from tuner.trial.stopping import MARK

__all__ = ["Event", "Slot"]
# An event is beat, report, full, returned, tested, taken, probed, failed or lost (`event`); the rest depends on that.
# A beat tells for how many seconds the process has been silent.
BEAT_SECONDS = 1.0
EXIT_SECONDS = 5.0
"""How long a function that has made its last report may take to return, and its process to end."""
FENCE_SECONDS = 60.0
"""How long a predecessor on another machine, which holds the trial still, is waited for."""
FORK_TRIES = 10
"""So often, a beat apart, a machine without room for one more process is asked for one."""
KILL_SECONDS = 5.0
"""How long a killed process is waited for; one that hangs in the kernel is left behind."""


class Slot:
    """Runs assignments one after the other: `begin`, `step` until an end, `end`, `begin` again; at last `close`."""

    def __init__(
        self, code: Code, cpus: int = 1, shared: str | None = None, fork: bool = sys.platform == "linux"
    ) -> None:
        self.code = code
        self._launcher: Launcher = zygote(code, cpus, shared) if fork else Fresh(code, cpus)
        self._remote = Remote()
        self._assignment: Assignment | None = None
        self._child: Child | Ranks | None = None
        self._waits_for_go = False
        self._last = 0
        self._ended: Event | None = None
        self._may_leave = False
        self._tries = 0
        self._inherited: deque[Event] | None = None
        """Epochs that a dead predecessor saved and nobody heard of; None until it is known to be gone."""
        self._began = self._heard = 0.0
        """When the assignment began, and when its process last said something or was told to go on."""

    def begin(self, assignment: Assignment) -> None:
        """Take on an assignment; whatever ran before is gone when this returns."""
        self.end()
        assignment = self._remote.begin(assignment)
        self._assignment, self._ended, self._may_leave, self._waits_for_go = assignment, None, False, False
        self._tries, self._inherited, self._began = 0, None, time.monotonic()
        if not self._launcher.usable:
            self._launcher = self._launcher.anew()
        if self._has_folder() and self._inherits(0.0) and not self._inherited and self._launcher.ready:
            self._launch()

    def stretch(self) -> list[Event]:
        """Let the trial go on until something has to be answered, a beat at most; gather what it says."""
        assert self._assignment is not None
        deadline = time.monotonic() + self._assignment.beat
        events = [self.step(deadline)]
        while not self._must_be_answered() and events[-1]["event"] == "report":
            events.append(self.step(deadline))
        return events

    def step(self, deadline: float | None = None) -> Event:
        """Let the trial go on and wait for what comes next, a second or until the deadline (then `beat`)."""
        deadline = deadline or time.monotonic() + BEAT_SECONDS
        if self._remote.is_putting:
            return self._await_put(deadline)
        goes_on, self._waits_for_go = self._waits_for_go, False
        if self._ended is None and self._child is None:
            if not self._inherits(deadline - time.monotonic()):
                return self._ended or self._held_still()
            if self._inherited:
                return self._heard_of(self._inherited.popleft(), deadline)
            goes_on = False  # the word was for an epoch that was taken over: the process itself has yet to report
            self._await_launcher()
        if self._ended is not None or self._child is None:
            return self._ended or _beat(time.monotonic() - self._began)
        if goes_on:
            self._say_go(self._child)
        return self._await_event(self._child, deadline)

    @property
    def folder(self) -> Path:
        """The folder in which the trial works here."""
        assert self._assignment is not None
        return self._assignment.folder

    def mark(self) -> None:
        """Have the trial that runs save its next report, as a stop by hand does."""
        if self._assignment is not None:
            with suppress(OSError):
                (self._assignment.folder / MARK).touch()

    def end(self) -> None:
        """End what was begun, and take no step of it any more; its process is gone when this returns."""
        if self._imports_for_ever():
            self._launcher = self._launcher.anew()
        self._finish_child()
        self._remote.leave()
        self._assignment = None

    def close(self) -> None:
        """End the trial and the zygote."""
        self._finish_child()
        self._launcher.close()
        self._remote.close()

    def _has_folder(self) -> bool:
        """Make the files that a trial needs to begin; False where there is no room even for these."""
        assert self._assignment is not None
        folder, params = self._assignment.folder, json.dumps(self._assignment.params, indent=2)
        try:
            write_whole(folder / "params.json", params + "\n", sync=False)
            for rank in range(self._assignment.ranks):
                (folder / log_name(rank)).touch()
            fence.prepare(folder)
            (folder / MARK).unlink(missing_ok=True)  # of a stop that an earlier driver was asked for
        except OSError as error:
            if not is_full(error):
                raise
            self._ended = {"event": "lost", "reason": str(error), "cause": "disk"}
        return self._ended is None

    def _inherits(self, seconds: float) -> bool:
        """Keep a predecessor off, then take over what it left; False while it is there still."""
        assert self._assignment is not None
        if self._inherited is None and self._assignment.task in ("test", "take"):
            self._inherited = deque()
        if self._inherited is None and fence.keep_off(self._assignment.folder, seconds) and self._fetched(seconds):
            self._last = self._assignment.epoch
            trains = self._assignment.task == "train"
            events, self._assignment = adopt(self._assignment) if trains else ([], self._assignment)
            self._inherited = deque(events)
        return self._inherited is not None

    def _fetched(self, seconds: float) -> bool:
        """Wait for what the assignment needs; nothing of that counts as the trial's silence."""
        if not self._remote.fetched(seconds):
            self._began = time.monotonic()
            return False
        self._ended = self._remote.failure()
        return self._ended is None

    def _held_still(self) -> Event:
        if time.monotonic() - self._began >= FENCE_SECONDS:
            reason = "a process on another machine trains this trial still"
            self._ended = {"event": "lost", "reason": reason, "cause": "machine"}
        return self._ended or self._waiting()

    def _await_launcher(self) -> None:
        if self._launcher.ready:
            self._launch()
            return
        message = self._launcher.news(BEAT_SECONDS)
        if message is None:
            return
        if message["event"] in ("failed", "lost"):
            self._ended = message
        elif not message["forkable"]:
            self._launcher = self._launcher.anew(message)
        else:
            self._launch()

    def _launch(self) -> None:
        assert self._assignment is not None
        self._tries += 1
        self._heard = time.monotonic()
        try:
            self._child = launch(self._launcher, self._assignment)
        except Lost as lost:  # perhaps long ago: try once more
            self._launcher = self._launcher.anew()
            self._ended = {"event": "lost", "reason": str(lost)} if self._tries > 1 else None
        except Refused as refused:  # it may pass: others end
            self._ended = {"event": "lost", "reason": str(refused)} if self._tries >= FORK_TRIES else None
            time.sleep(BEAT_SECONDS)

    def _await_event(self, child: Child | Ranks, deadline: float) -> Event:
        try:
            heard = self._hear(child, deadline - time.monotonic())
        except Lost as lost:
            self._ended = {"event": "lost", "reason": str(lost)}
            return self._ended
        if heard is None:
            return _beat(self._silence())
        if isinstance(heard, int):
            self._ended = child.died(heard)
            return self._ended
        return self._heard_of(heard, deadline)

    def _heard_of(self, message: Event, deadline: float) -> Event:
        """Take in a message, a report only when its checkpoint is where all may read it."""
        return self._await_put(deadline) if self._remote.takes(message) else self._received(message)

    def _await_put(self, deadline: float) -> Event:
        message = self._remote.released(deadline - time.monotonic())
        return self._waiting() if message is None else self._received(message)

    def _waiting(self) -> Event:
        """Make a beat of a trial that waits for something outside of it, with what that is where it does not work."""
        return {**_beat(0.0), "waits": self._remote.problem}

    def _imports_for_ever(self) -> bool:
        """Tell whether the trial is given up since its module was never imported."""
        given = self._assignment
        waits = self._child is None and self._ended is None and not self._launcher.ready
        return given is not None and waits and time.monotonic() - self._began > given.patience

    def _silence(self) -> float:
        """Measure how long the trial has said nothing, in seconds."""
        return time.monotonic() - self._heard

    def _hear(self, child: Child | Ranks, seconds: float) -> Event | int | None:
        """Wait for a message, else for the end of the process, else for time to go by; raises Lost."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            tick = min(left, self._launcher.tick, child.tick)
            wait([*child.listened, *self._launcher.wakes], tick if child.status is None else 0)
            child.look(self._launcher.status)
            if (message := child.read()) is not None:  # read after the status: what it said before it went counts
                return message
            if child.status is not None or left == 0:
                return child.status

    def _received(self, message: Event) -> Event:
        assert self._assignment is not None
        self._heard = time.monotonic()
        if message["event"] == "report":
            self._waits_for_go = self._assignment.waits(self._last, message["epoch"], message["metrics"])
            self._last = message["epoch"]
            if self._last >= self._assignment.epochs and self._child is not None:
                # The last one: nothing can be decided about this trial any more, so the function may return.
                self._waits_for_go, self._may_leave = False, True
                self._say_go(self._child)
        elif message["event"] != "full":
            self._ended, self._may_leave = message, True
        return message

    def _must_be_answered(self) -> bool:
        return self._waits_for_go or self._may_leave or self._ended is not None

    def _say_go(self, child: Child | Ranks) -> None:
        self._heard = time.monotonic()
        child.say("go")

    def _finish_child(self) -> None:
        """Let a process that is at its end leave by itself; kill any other, with its whole group."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            if not self._leaves(child):
                self._ask_what_it_does(child)
                child.kill()
                child.look(self._launcher.status, KILL_SECONDS)
        except Lost:
            child.kill()
        child.bury()
        if self.code.plain_ray:
            shutil.rmtree(ray_session.scratch(child.pid), ignore_errors=True)

    def _ask_what_it_does(self, child: Child | Ranks) -> None:
        """Have a process that has been silent for long write its stacks into its log, for whoever finds it hung."""
        if self._assignment is not None and self._silence() > self._assignment.patience:
            child.dump_stacks()
            time.sleep(fence.STACKS_SECONDS)

    def _leaves(self, child: Child | Ranks) -> bool:
        """Tell whether it is gone, or goes within some seconds; one that reports again does not."""
        deadline, returned = time.monotonic() + (EXIT_SECONDS if self._may_leave else 0.0), self._ended is not None
        while (heard := self._hear(child, deadline - time.monotonic())) is not None:
            if isinstance(heard, int):
                return True
            if heard["event"] == "report":
                return False
            returned = returned or heard["event"] != "full"
        if self._may_leave and self._assignment is not None:
            note_overdue(self._assignment.folder / log_name(0), EXIT_SECONDS, returned)
        return False


def _beat(silent: float) -> Event:
    return {"event": "beat", "silent": silent}
