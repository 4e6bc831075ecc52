"""The one place that assembles a run: ledger, core, Ray, observers."""

from __future__ import annotations

import importlib
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from tuner.core.records import SCHEMA, Header, Session
from tuner.core.run import Core
from tuner.core.state import RunState
from tuner.engine import cluster as clusters
from tuner.engine.ahead import ahead
from tuner.engine.evaluate import evaluate
from tuner.engine.follow import Followers, Observer
from tuner.engine.live import LiveRun
from tuner.errors import ClusterError, Interrupted, RunFailed, TunerError, UserError
from tuner.ledger import Ledger
from tuner.slot.code import Code
from tuner.slot.shared import SharedZygote
from tuner.spec.experiment import Experiment

PACKAGES = ("ray", "torch", "optuna", "tensorboardX", "pydantic", "numpy")


def create(folder: Path, spec: Experiment, home: Path) -> None:
    """Make a new run's folder with the header of its ledger."""
    folder.mkdir(parents=True)
    ledger = Ledger(folder)
    ledger.append(
        Header(schema=SCHEMA, name=folder.name, spec=spec.model_dump(mode="json"), folder=str(home)),
    )
    ledger.close()


def drive(
    folder: Path,
    code: Code,
    test: Code | None,
    make_observers: Callable[[], Sequence[Observer]],
    *,
    address: str | None = None,
    dashboard: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Drive a run to its end from wherever its ledger stands; raises TunerError where it does not get there."""
    ledger = Ledger(folder)
    followers = None
    try:
        state = _replay(ledger)
        with ExitStack() as stack:
            zygote = None if state.finished() else _shared_zygote(stack, state.spec, code, address)
            clusters.prepare(dashboard)
            followers = Followers(lambda: _import_and(make_observers))
            if state.finished():
                _pass_on(ledger, followers)
                _evaluate(folder, state, code, test, None, say)
                return
            cluster = stack.enter_context(clusters.connect(address, dashboard, folder / "ray"))
            if zygote is not None:
                zygote.check()
            say(_where(cluster))
            followers.wait_until_made()
            live = _begin(_rebuild(ledger, state.spec, followers), ledger, folder, cluster, followers)
            shared = zygote.address if zygote else None
            with _signals(live):
                _tune(live, code, cluster, shared)
            _raise_if_unfinished(live)
            _evaluate(folder, live.core.run, code, test, shared, say)
    finally:
        if followers is not None:
            followers.close()
        ledger.close()


def _shared_zygote(stack: ExitStack, spec: Experiment, code: Code, address: str | None) -> SharedZygote | None:
    """Begin to import the trainable while Ray starts, where all trials will run on this machine."""
    if sys.platform != "linux" or clusters.existing(address):
        return None
    return stack.enter_context(SharedZygote(code, spec.resources.cpus))


def _raise_if_unfinished(live: LiveRun) -> None:
    if live.error is not None:
        raise live.error
    if live.interrupted:
        raise Interrupted("interrupted")
    _refuse_if_all_failed(live.core)


def _evaluate(
    folder: Path, run: RunState, code: Code, test: Code | None, zygote: str | None, say: Callable[[str], None]
) -> None:
    problem = evaluate(folder, run, code, test, zygote)
    if problem:
        say(f"The best could not be measured on the test split: {problem}")


def _refuse_if_all_failed(core: Core) -> None:
    trials = list(core.run.trials.values())
    if trials and all(trial.outcome == "failed" for trial in trials):
        raise RunFailed(f"every trial failed; the last one so:\n{trials[-1].error or trials[-1].reason}")


def _replay(ledger: Ledger) -> RunState:
    """Apply what the ledger holds to a state of its own, before anything slow is imported."""
    header = ledger.records[0] if ledger.records else None
    if not isinstance(header, Header):
        raise UserError("the ledger must begin with a header, but is empty. Start the run anew.")
    if header.schema > SCHEMA:
        raise UserError(f"the run was made by a newer version (schema {header.schema}). Update tuner.")
    state = RunState()
    for record in ledger.records:
        state.apply(record)
    return state


def _import_and(make_observers: Callable[[], Sequence[Observer]]) -> Sequence[Observer]:
    """Import Ray Tune, Optuna and their like in this thread, while the main one waits for Ray to start."""
    for module in ("tuner.core.search.kinds", "tuner.engine.scheduler", "tuner.engine.worker"):
        importlib.import_module(module)
    return make_observers()


def _rebuild(ledger: Ledger, spec: Experiment, followers: Followers) -> Core:
    """Build the core, and its searcher, from what the ledger holds."""
    from tuner.core.search.kinds import make_asker

    core = Core(spec, make_asker(spec))
    for record in ledger.records:
        core.apply(record)
    _pass_on(ledger, followers)
    ledger.records.clear()
    return core


def _pass_on(ledger: Ledger, followers: Followers) -> None:
    for record in ledger.records:
        followers.put(record)


def _begin(core: Core, ledger: Ledger, folder: Path, cluster: clusters.Cluster, followers: Followers) -> LiveRun:
    from tuner.engine import placement

    live = LiveRun(core, ledger, str(folder.resolve()), followers.put)
    session = Session(
        attempt=core.run.attempt + 1,
        host=socket.gethostname(),
        pid=os.getpid(),
        slots=placement.slots(core.spec, cluster.nodes),
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )
    record = ledger.append(session)
    core.apply(record)
    followers.put(record)
    core.asker = ahead(core.asker, len(core.run.trials), core.spec.trials - 1)
    return live


def _tune(live: LiveRun, code: Code, cluster: clusters.Cluster, zygote: str | None) -> None:
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(live.core.run.slots)
    from ray import tune
    from ray.exceptions import RayError

    from tuner.engine.placement import bundles
    from tuner.engine.scheduler import Scheduler, StopAll
    from tuner.engine.search import Search
    from tuner.engine.worker import Worker

    search = Search(live, code, zygote, bundles(live.core.spec.resources))
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
    except TunerError:
        raise
    except (RayError, OSError) as error:
        raise ClusterError(f"Ray gave up: {type(error).__name__}: {str(error).splitlines()[0]}") from error


def _where(cluster: clusters.Cluster) -> str:
    cpus, gpus = (int(sum(node.get(name, 0) for node in cluster.nodes)) for name in ("CPU", "GPU"))
    machines = "this machine" if cluster.local else f"a cluster of {len(cluster.nodes)} machines"
    board = f"; dashboard {cluster.dashboard}" if cluster.dashboard else ""
    return f"Ray runs on {machines}: {cpus} CPUs, {gpus} GPUs{board}"


@contextmanager
def _signals(live: LiveRun) -> Iterator[None]:
    """Let a first SIGINT or SIGTERM end the run cleanly, and a second one at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if live.interrupted:
            os._exit(130)
        live.interrupted = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
