"""A slot: it runs one trial after another, each in a process of its own, and always answers within a second."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from multiprocessing.connection import wait

from tuner.slot import ray_session
from tuner.slot.code import Code
from tuner.slot.launcher import Child, Event, Fresh, Launcher, Lost, ending, failure, zygote
from tuner.storage import write_whole
from tuner.trial import Assignment

__all__ = ["Event", "Slot"]
# An event is beat, report, returned, tested, failed or lost (`event`); the rest of it depends on that.
BEAT_SECONDS = 1.0
EXIT_SECONDS = 5.0
"""How long a function that has had its last report may take to return."""
KILL_SECONDS = 5.0
"""How long a killed process is waited for; one that hangs in the kernel is left behind."""


class Slot:
    """Runs assignments one after the other: `begin`, `step` until an end, `begin` again; at last `close`."""

    def __init__(
        self, code: Code, cpus: int = 1, shared: str | None = None, fork: bool = sys.platform == "linux"
    ) -> None:
        self.code = code
        self._launcher: Launcher = zygote(code, cpus, shared) if fork else Fresh(code, cpus)
        self._assignment: Assignment | None = None
        self._child: Child | None = None
        self._waits_for_go = False
        self._last = 0
        self._ended: Event | None = None
        self._may_leave = False
        self._tries = 0

    def begin(self, assignment: Assignment) -> None:
        """Take on an assignment; whatever ran before is gone when this returns."""
        self._finish_child()
        write_whole(assignment.folder / "params.json", json.dumps(assignment.params, indent=2) + "\n", sync=False)
        self._assignment, self._ended, self._may_leave, self._waits_for_go = assignment, None, False, False
        self._tries, self._last = 0, assignment.epoch
        if not self._launcher.usable:
            self._launcher = self._launcher.anew()
        if self._launcher.ready:
            self._launch()

    def stretch(self) -> list[Event]:
        """Let the trial go on until something has to be answered, a second at most; gather what it says."""
        deadline = time.monotonic() + BEAT_SECONDS
        events = [self.step(deadline)]
        while not self._must_be_answered() and events[-1]["event"] != "beat":
            events.append(self.step(deadline))
        return events

    def step(self, deadline: float | None = None) -> Event:
        """Let the trial go on and wait for what comes next, a second at most (then `beat`)."""
        deadline = deadline or time.monotonic() + BEAT_SECONDS
        if self._ended is None and self._child is None:
            self._await_launcher()
        if self._ended is not None or self._child is None:
            return self._ended or {"event": "beat"}
        if self._waits_for_go:
            self._waits_for_go = False
            self._say_go(self._child)
        return self._await_event(self._child, deadline - time.monotonic())

    def close(self) -> None:
        """End the trial and the zygote."""
        self._may_leave = False
        self._finish_child()
        self._launcher.close()

    def _await_launcher(self) -> None:
        message = self._launcher.news(BEAT_SECONDS)
        if message is None:
            return
        if message["event"] == "failed":
            self._ended = message
        elif not message["forkable"]:
            self._launcher = self._launcher.anew(message)
        else:
            self._launch()

    def _launch(self) -> None:
        assert self._assignment is not None
        self._tries += 1
        try:
            self._child = self._launcher.launch(self._assignment)
        except Lost as lost:  # perhaps long ago: try once more
            self._launcher = self._launcher.anew()
            self._ended = {"event": "lost", "reason": str(lost)} if self._tries > 1 else None

    def _await_event(self, child: Child, seconds: float) -> Event:
        try:
            heard = self._hear(child, seconds)
        except Lost as lost:
            self._ended = {"event": "lost", "reason": str(lost)}
            return self._ended
        if heard is None:
            return {"event": "beat"}
        if isinstance(heard, int):
            self._ended = failure(f"{ending(heard)} in the middle of the trial")
            return self._ended
        return self._received(child, heard)

    def _hear(self, child: Child, seconds: float) -> Event | int | None:
        """Wait for a message, else for the end of the process, else for time to go by; raises Lost."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            listened = [*([] if child.silent else [child.connection]), *self._launcher.wakes]
            wait(listened, min(left, self._launcher.tick) if child.status is None else 0)
            if child.status is None:
                child.status = self._launcher.status(child, 0)
            if (message := child.read()) is not None:  # read after the status: what it said before it went counts
                return message
            if child.status is not None or left == 0:
                return child.status

    def _received(self, child: Child, message: Event) -> Event:
        assert self._assignment is not None
        if message["event"] != "report":
            self._ended, self._may_leave = message, True
        elif message["epoch"] >= self._assignment.epochs:
            # The last one: nothing can be decided about this trial any more, so the function may return.
            self._may_leave = True
            self._say_go(child)
        else:
            self._waits_for_go = self._assignment.waits(self._last, message["epoch"], message["metrics"])
        self._last = message.get("epoch", self._last)
        return message

    def _must_be_answered(self) -> bool:
        return self._waits_for_go or self._may_leave or self._ended is not None

    def _say_go(self, child: Child) -> None:
        with contextlib.suppress(OSError):
            child.connection.send("go")

    def _finish_child(self) -> None:
        """Let a process that is at its end leave by itself; kill any other, with its whole group."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            if not self._leaves(child):
                child.kill()
                child.status = self._launcher.status(child, KILL_SECONDS)
        except Lost:
            child.kill()
        child.bury()
        if self.code.plain_ray:
            shutil.rmtree(ray_session.scratch(child.pid), ignore_errors=True)

    def _leaves(self, child: Child) -> bool:
        """Tell whether it is gone, or goes within some seconds; one that reports again does not."""
        deadline = time.monotonic() + (EXIT_SECONDS if self._may_leave else 0.0)
        while (heard := self._hear(child, deadline - time.monotonic())) is not None:
            if isinstance(heard, int):
                return True
            if heard["event"] == "report":
                return False
        return False
