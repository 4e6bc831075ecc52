"""A zygote for all slots of one machine, started before they are: the user's module is imported once, and early."""

from __future__ import annotations

import socket

from tuner.errors import UserError
from tuner.slot.code import Code
from tuner.slot.launcher import spawn
from tuner.slot.process import Event
from tuner.storage import delete_folder
from tuner.storage.machine import scratch


class SharedZygote:
    """Started and ended by the driver of a run on one machine; when the driver dies, all trials die with it."""

    def __init__(self, code: Code, cpus: int) -> None:
        self._folder = scratch()
        self.address = str(self._folder / "zygote")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(128)
            mode = ["serve", str(listener.fileno())]
            self._process, self._control = spawn(code, cpus, mode, hand_down=[listener.fileno()])

    def check(self) -> None:
        """Raise UserError with the user's traceback, if the import is known to have failed."""
        if not self._control.poll(0):
            return
        try:
            message: Event = self._control.recv()
        except (EOFError, OSError):
            return  # the slots will say how it ended
        if message["event"] == "failed":
            raise UserError(f"{message['reason']}\n{message['error']}".rstrip())

    def close(self) -> None:
        """Kill it, and with it what was forked from it."""
        self._control.close()
        self._process.kill()
        self._process.wait()
        delete_folder(self._folder)

    def __enter__(self) -> SharedZygote:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
