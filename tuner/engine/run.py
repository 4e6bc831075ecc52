"""The one place that assembles a run: ledger, core, Ray, observers."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from tuner.core import confirm, gpus
from tuner.core.records import SCHEMA, Asked, Header, Session
from tuner.core.run import Core
from tuner.core.state import RunState, replay
from tuner.engine import cluster as clusters
from tuner.engine import wishes
from tuner.engine.ahead import ahead
from tuner.engine.evaluate import evaluate, read_best
from tuner.engine.follow import Followers, Observer
from tuner.engine.formats import write_formats
from tuner.engine.live import LiveRun
from tuner.engine.watch import places
from tuner.engine.way_out import WayOut
from tuner.errors import ClusterError, Interrupted, RunFailed, TunerError
from tuner.ledger import Ledger
from tuner.slot.adopt import newest_attempt
from tuner.slot.code import Code
from tuner.slot.shared import SharedZygote
from tuner.spec.experiment import Experiment
from tuner.storage import delete_folder
from tuner.versions import versions

if TYPE_CHECKING:
    from tuner.engine.mirror import Mirror

IDLE_GPUS = "; trials use no GPU, for resources.gpus is 0 (auto measures what a trial needs)"
FAILURES = ("failed", "infeasible", "lost", "stalled")


class Say(Protocol):
    """Tells the user something: a line that stays, or what is being done from here on."""

    def __call__(self, text: str, lasting: bool = True) -> None:
        """Tell it."""
        ...


def _silent(text: str, lasting: bool = True) -> None:
    """Tell nothing."""


def create(folder: Path, spec: Experiment, home: Path) -> None:
    """Make a new run's folder with the header of its ledger."""
    header = Header(schema=SCHEMA, name=folder.name, spec=spec.model_dump(), folder=str(home))
    folder.mkdir(parents=True)
    try:
        with Ledger(folder) as ledger:
            ledger.append(header)
    except OSError:
        delete_folder(folder)  # else the name would be taken by what is no run
        raise


def drive(
    folder: Path,
    code: Code,
    test: Code | None,
    make_observers: Callable[[], Sequence[Observer]],
    *,
    address: str | None = None,
    dashboard: bool = True,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    travels: Callable[[], Path | None] = lambda: None,
    say: Say = _silent,
    farewell: Callable[[TunerError], None] | None = None,
    mirror: Mirror | None = None,
) -> None:
    """Drive a run to its end from wherever its ledger stands; raises TunerError where it does not get there.

    `changes` holds the parts of the spec that are others from now on, by section; `travels` names the folder that other
    machines get a copy of; a `mirror` is the copy at a URL. Where a `farewell` is given,
    it may be called from another thread, after which the process ends: see `WayOut`.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder))
        wishes.take(folder)  # whatever was asked of a driver that is dead
        if mirror is not None:
            stack.enter_context(mirror.follow(ledger, say))
        if changes:
            ledger.records.append(ledger.append(_asked(changes)))
        state = replay(ledger.records)
        if state.finished():
            _write_again(ledger, make_observers)
            _evaluate(folder, state, code, test, None, say, mirror)
            _refuse_if_all_failed(state)
            return
        way_out = stack.enter_context(WayOut(folder / "ray", farewell))
        signals = stack.enter_context(Signals(way_out))
        say("starting Ray", lasting=False)
        zygote = _shared_zygote(stack, state.spec, code, address)
        stack.enter_context(clusters.prepared(dashboard))
        followers = stack.enter_context(Followers(lambda: _import_and(state.spec.search.kind, make_observers)))
        cluster = stack.enter_context(clusters.connect(address, dashboard, folder / "ray", travels))
        signals.set()  # Ray has set its own
        way_out.watch(cluster, clusters.existing(address))
        stack.callback(way_out.rest)
        if zygote is not None:
            zygote.check()
        say(_where(cluster, state.spec))
        followers.wait_until_made()
        core = _rebuild(ledger, followers)
        placement, watch = places(core.spec, cluster, mirror.url if mirror else folder.resolve(), say)
        look = stack.enter_context(watch) if watch else None
        live = _begin(LiveRun(core, ledger, str(folder.resolve()), followers.put, placement, say, look))
        stack.callback(live.close)
        signals.live = live
        if mirror is not None:
            _connect(live, mirror)
        shared = zygote.address if zygote else None
        _tune(live, code, cluster, shared)
        _raise_if_unfinished(live)
        _evaluate(folder, live.core.run, code, test, shared, say, mirror)


def _connect(live: LiveRun, mirror: Mirror) -> None:
    """Have trials use the URL, once this session is known there: no other one will use its number."""

    def is_enough() -> bool:
        live.tick()  # a stop by hand and the budget's hours count here too
        return live.over

    live.storage, live.waits = mirror.url, mirror.waits
    mirror.taken = lambda error: setattr(live, "error", error)
    mirror.wait_until_put(is_enough)
    live.error = live.error or mirror.error


def _asked(changes: Mapping[str, Mapping[str, Any]]) -> Asked:
    settings = {key: dict(part) for key, part in changes.items() if key != "budget"}
    return Asked(budget=dict(changes.get("budget", {})), settings=settings)


def _shared_zygote(stack: ExitStack, spec: Experiment, code: Code, address: str | None) -> SharedZygote | None:
    """Begin to import the trainable while Ray starts, where all trials will run on this machine."""
    if sys.platform != "linux" or clusters.existing(address):
        return None
    return stack.enter_context(SharedZygote(code, spec.resource_entries[-1].cpus))


def _raise_if_unfinished(live: LiveRun) -> None:
    if live.error is not None:
        raise live.error
    if live.interrupted and not live.core.run.finished():
        raise Interrupted("interrupted")
    _refuse_if_all_failed(live.core.run)


def _evaluate(
    folder: Path, run: RunState, code: Code, test: Code | None, zygote: str | None, say: Say, mirror: Mirror | None
) -> None:
    if mirror is not None:
        mirror.fetch_best(run)
    if (model := read_best(folder, run, say)) is None:
        return
    if problem := evaluate(folder, run, model, code, test, zygote):
        say(f"The best could not be measured on the test split: {problem}")
    for problem in write_formats(folder, run, model, code, zygote):
        say(f"best/ lacks a format of the model: {problem}")


def _refuse_if_all_failed(run: RunState) -> None:
    """Raise RunFailed where no trial came to anything, whatever it failed by."""
    trials = list(run.trials.values())
    if trials and all(trial.outcome in FAILURES and not trial.breaks for trial in trials):
        last = trials[-1]
        raise RunFailed(f"every trial failed; the last one ({last.outcome}) so:\n{last.error or last.reason}")


def _write_again(ledger: Ledger, make_observers: Callable[[], Sequence[Observer]]) -> None:
    """Let observers see a run that is over."""
    with Followers(make_observers) as followers:
        followers.wait_until_made()
        for record in ledger.records:
            followers.put(record)


def _import_and(search: str, make_observers: Callable[[], Sequence[Observer]]) -> Sequence[Observer]:
    """Import Ray Tune, Optuna and their like in this thread, while the main one waits for Ray to start."""
    searches = ["tuner.core.search.kinds", *(["tuner.core.search.thaw"] if search == "auto" else [])]
    for module in (*searches, "tuner.engine.scheduler", "tuner.engine.worker"):
        importlib.import_module(module)
    return make_observers()


def _rebuild(ledger: Ledger, followers: Followers) -> Core:
    """Build the core, and its searcher, from what the ledger holds; its budget grows where it grew."""
    from tuner.core.search.kinds import make_asker

    spec = replay(ledger.records[:1]).spec
    core = Core(spec, make_asker(spec))
    for record in ledger.records:
        core.apply(record)
        followers.put(record)
    ledger.records.clear()
    return core


def _begin(live: LiveRun) -> LiveRun:
    core, placement = live.core, live.placement
    session = Session(
        attempt=1 + max(core.run.attempt, newest_attempt(Path(live.folder))),
        host=socket.gethostname(),
        pid=os.getpid(),
        slots=placement.slots,
        card=placement.largest_card,
        versions={**versions(), **_decided_by(core)},
    )
    live.write(session)
    core.asker = ahead(core.asker, len(core.run.trials), core.spec.trials - 1)
    return live


def _decided_by(core: Core) -> dict[str, str]:
    """Name the versions of what decides, beside the libraries'."""
    rules = {f"rule {core.spec.scheduler.kind}": str(core.rule.version), "gpus": str(gpus.VERSION)}
    return {**rules, "confirm": str(confirm.VERSION)} if core.spec.confirm else rules


def _tune(live: LiveRun, code: Code, cluster: clusters.Cluster, zygote: str | None) -> None:
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(live.core.spec.most_at_once)  # no more are handed out than fit
    from ray import tune
    from ray.exceptions import RayError
    from ray.tune import TuneError

    from tuner.engine.scheduler import Scheduler, StopAll
    from tuner.engine.search import Search
    from tuner.engine.worker import Worker

    search = Search(live, code, zygote, cluster.shipped)
    try:
        tune.run(
            Worker,
            name="tune",
            search_alg=search,
            scheduler=Scheduler(live, search),
            stop=StopAll(live),
            num_samples=-1,
            reuse_actors=True,
            raise_on_failed_trial=False,
            storage_path=str(cluster.scratch),
            verbose=0,
        )
    except (RayError, TuneError, OSError) as error:
        if live.error is None:
            reason = str(error).strip().splitlines() or [""]
            raise ClusterError(f"Ray gave up: {type(error).__name__}: {reason[-1]}") from error


def _where(cluster: clusters.Cluster, spec: Experiment) -> str:
    board = f"; dashboard {cluster.dashboard}" if cluster.dashboard else ""
    idle = any(node.gpus for node in cluster.nodes) and not any(one.gpus for one in spec.resource_entries)
    return f"Ray runs on {clusters.told(cluster.nodes, cluster.local)}{board}{IDLE_GPUS if idle else ''}"


class Signals:
    """A first SIGINT or SIGTERM ends the run cleanly, a second one at once; before trials run, the first one does."""

    def __init__(self, way_out: WayOut) -> None:
        self.way_out = way_out
        self.live: LiveRun | None = None
        self._before: dict[int, Any] = {}

    def set(self) -> None:
        """Take over the signals from whoever has them; outside the main thread there are none to take."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._stop)
                self._before.setdefault(number, before)

    def __enter__(self) -> Signals:
        self.set()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if kind is KeyboardInterrupt:
            raise Interrupted("interrupted")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.live is not None and not self.live.over:
            self.live.interrupted = True
        elif not self.way_out.leave(Interrupted("interrupted")):
            raise KeyboardInterrupt
