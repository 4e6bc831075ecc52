"""A run that is stored at a URL: driven in a local folder, and copied as it grows.

The driver holds a lease there. What it writes into its ledger is put within a second or two, in a thread of its own;
checkpoints are put by the slots that make them. A new head goes on from what is there.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote

from tuner.core.state import RunState
from tuner.errors import ClusterError, Problem, TunerError, UserError
from tuner.ledger import NAME, Ledger, bring
from tuner.storage.lease import Lease, Taken
from tuner.storage.segments import Segments
from tuner.storage.transfer import get_folder, put_changed
from tuner.storage.url import Objects, unusable
from tuner.trial.checkpoint import MANIFEST, is_whole

log = logging.getLogger(__name__)
EVERY_SECONDS = 1.0
LONGEST_WAIT = 5.0
"""Seconds between two tries where the URL does not answer."""
END_SECONDS = 60.0
"""How long the end of a run waits for a URL that does not answer."""
INTERRUPTED_SECONDS = 5.0
QUIET_SECONDS = 15.0
"""So long after the last complaint all is well again."""
MANY = 20
"""So many checkpoints are deleted after one look at all, fewer after a look at each."""
SPEC = "experiment.yaml"
PROJECTIONS = ("best", "tensorboard")
"""Folders of files that come and go: what is not here at the end is deleted there."""
NOT_PUT = (NAME, "trials", "ray", "asked", "reserve", "stopping")
"""What of the run's folder is put in another way, or says something to this machine alone."""


def _tell(text: str) -> None:
    """Tell the user something where nothing else is shown."""
    print(text, file=sys.stderr, flush=True)


class Mirror:
    """The copy of a run at its URL, for as long as this process drives it."""

    def __init__(self, url: str, folder: Path, is_new: bool = False, say: Callable[[str], None] = _tell) -> None:
        self.objects, self.folder, self.say = Objects(url), folder, say
        self._is_new = is_new
        self.taken: Callable[[TunerError], None] = lambda error: None
        """Told why nothing is put any more: another driver has taken the lease, or the copying itself has failed."""
        self.error: TunerError | None = None
        self._lease, self._segments = Lease(self.objects), Segments(self.objects)
        self._ledger: Ledger | None = None
        self._free: deque[tuple[int, str]] = deque()
        """Checkpoints that are needed no more, each with the size of the ledger that says so."""
        self._known: dict[str, tuple[int, int]] = {}
        self._complained = 0.0
        self._deadline, self._problem = math.inf, ""
        """Until when the end of the run waits for the URL, and why it waits."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    @property
    def url(self) -> str:
        """Where the copy lies."""
        return self.objects.url

    def __enter__(self) -> Mirror:
        """Take the lease; raises Locked where another driver has it, and UserError where nothing can be written.

        And where the run is to be a new one, but is there.
        """
        try:
            self._check_name()
            self._lease.take(self.say)
            try:
                self._check_name()  # while the lease was waited for, another driver may have begun and ended
            except BaseException:
                self._lease.end()
                raise
        except OSError as error:
            raise unusable(self.url, error) from None
        self._segments.term = self._lease.term
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self.close(END_SECONDS if kind is None else INTERRUPTED_SECONDS)
        except TunerError as problem:
            if kind is None:
                raise
            if problem is not error:  # what ended the run is worth more, and this is to be known too
                self.say(str(problem))

    def _check_name(self) -> None:
        if self._is_new and self.objects.list(NAME):
            fix = f"Choose another name, or go on with --resume {quote(self.url)}."
            raise UserError(Problem("--name", "", f"must be a new name, but {self.url} exists", fix))

    def bring(self) -> None:
        """Bring the local ledger to where the run stands; raises UserError where there is no such run."""
        try:
            there = self._segments.read()
            if aside := bring(self.folder, there, self.url):
                self.say(f"{self.url} has gone on without {self.folder}; what only that one has is kept: {aside.name}")
            with contextlib.suppress(FileNotFoundError):
                self.objects.get_files({"best/test.json": self.folder / "best" / "test.json"})
        except OSError as error:
            raise ClusterError(f"{self.url}: {error}. Mend that, then resume.") from error

    @contextlib.contextmanager
    def follow(self, ledger: Ledger, say: Callable[[str], None]) -> Iterator[None]:
        """Put from now on what is written into the ledger; within this block tell the user by `say`."""
        self._ledger, before, self.say = ledger, self.say, say
        try:
            yield
        finally:
            self.say = before

    def wait_until_put(self, enough: Callable[[], bool]) -> None:
        """Wait until all that is written by now is there, or it is enough of waiting."""
        assert self._ledger is not None
        size = self._ledger.size
        while self._segments.size < size and self.error is None and not enough():
            time.sleep(0.05)

    def waits(self, problem: str) -> None:
        """Tell the user, once, that the URL cannot be written."""
        if time.monotonic() > self._complained + QUIET_SECONDS or not self._complained:
            self.say(f"{self.url} cannot be written ({problem}); what is to be saved waits, and is tried again")
        self._complained = time.monotonic()

    def delete(self, checkpoint: str) -> None:
        """Delete a checkpoint, as soon as the ledger there says too that it is needed no more."""
        assert self._ledger is not None
        self._free.append((self._ledger.size, checkpoint))

    def checkpoints(self) -> list[str]:
        """List the checkpoints that are there; none where the URL does not answer, which a resume looks after."""
        if self._is_away:
            return []
        names = self.objects.list("trials")
        return sorted({"/".join(parts[:4]) for name in names if (parts := name.split("/"))[2:3] == ["checkpoints"]})

    def fetch_best(self, run: RunState) -> None:
        """Get the best checkpoint into the local folder, if it is not there and can be had."""
        best = run.chosen
        checkpoint = best.checkpoint if best else None
        if checkpoint and not is_whole(self.folder / checkpoint):
            try:
                if self._is_away:
                    raise OSError(f"{self.url} does not answer")
                get_folder(self.objects, checkpoint, self.folder / checkpoint, MANIFEST)
            except OSError as error:
                self.say(f"the best checkpoint cannot be fetched: {error}")

    def close(self, seconds: float) -> None:
        """Put all that is left and give the lease back; raises ClusterError where that does not work for so long.

        The thread does it, and is left behind where it hangs in the URL: nobody can interrupt it there.
        """
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        self._over.set()
        self._thread.join(seconds + EVERY_SECONDS)
        if self._thread.is_alive() and self.error is None:
            self.error = self._unfinished(self._problem or f"no answer for {seconds:g} s")
        if self.error is not None:
            raise self.error

    @property
    def _is_away(self) -> bool:
        """Tell whether the URL does not answer, or is another driver's."""
        return bool(self._complained) or self.error is not None

    def _unfinished(self, problem: str) -> ClusterError:
        fix = f"All is in {self.folder}; --resume {quote(str(self.folder))} puts it there."
        return ClusterError(f"{self.url}: cannot be written: {problem}. {fix}")

    def _work(self) -> None:
        """Copy until the driver is over, then end; whatever goes wrong for good is told to the run."""
        try:
            self._follow()
            self._end()
        except Taken as error:
            self._give_up(error)
        except Exception as error:
            log.exception("the copy at %s fails", self.url)
            self._give_up(self._unfinished(f"{type(error).__name__}: {error}"))

    def _give_up(self, error: TunerError) -> None:
        self.error = self.error or error
        self.taken(self.error)

    def _follow(self) -> None:
        wait = EVERY_SECONDS
        while not self._over.wait(wait):
            try:
                self._turn()
                wait = EVERY_SECONDS
                self._is_well()
            except OSError as error:
                self.waits(str(error))
                wait = min(2 * wait, LONGEST_WAIT)

    def _end(self) -> None:
        while self.error is None:
            try:
                self._turn()
                if self._ledger is not None:
                    self._put_projections()
                self._lease.end()
                return
            except OSError as error:
                self._problem = str(error)
                left = self._deadline - time.monotonic()
                if left <= 0:
                    self.error = self._unfinished(self._problem)
                    with contextlib.suppress(OSError):  # perhaps it is but one thing that cannot be put
                        self._lease.end()
                time.sleep(min(max(left, 0.0), EVERY_SECONDS))

    def _turn(self) -> None:
        """Renew the lease first: who has lost it writes nothing more."""
        if self._lease.is_due():
            self._lease.renew()
        if self._ledger is not None:
            self._copy(self._ledger)
            self._clear()

    def _is_well(self) -> None:
        if self._complained and time.monotonic() > self._complained + QUIET_SECONDS:
            self._complained = 0.0
            self.say(f"{self.url} can be written again")

    def _copy(self, ledger: Ledger) -> None:
        size = ledger.size
        if not self._segments.size or (self._segments.is_in_pieces() and self._lease.is_sure()):
            self._segments.begin(_read(self.folder / NAME, 0, size))
            if (self.folder / SPEC).exists():
                self.objects.put_files({SPEC: self.folder / SPEC})
        elif size > self._segments.size and not self._segments.append(
            _read(self.folder / NAME, self._segments.size, size)
        ):
            raise Taken(f"{self.url}: another driver writes under this one's lease. Nothing more is written.")

    def _clear(self) -> None:
        """Delete what is needed no more, so far as the ledger there says so."""
        due = [path for size, path in list(self._free) if size <= self._segments.size]
        if not due or not self._lease.is_sure():
            return
        if len(due) > MANY:
            free = set(due)
            names = [name for name in self.objects.list("trials") if "/".join(name.split("/")[:4]) in free]
        else:
            names = [name for path in due for name in self.objects.list(path)]
        self.objects.delete(names)
        for _ in due:
            self._free.popleft()

    def _put_projections(self) -> None:
        """Put what people look at, and delete what of it is gone here."""
        put_changed(self.objects, "", self.folder, self._known, NOT_PUT)
        there = [name for top in PROJECTIONS for name in self.objects.list(top)]
        self.objects.delete([name for name in there if not (self.folder / name).exists()])


def _read(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)
