"""The three lines of a notebook: `load`, `run`, and a result to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.called import how_to_go_on
from tuner.earlier import learn
from tuner.errors import ClusterError, Interrupted, Locked, Problem, TunerError, UserError
from tuner.runs import Place, find_place, find_run, find_stopped, new_name, place, refuse_left, refuse_taken, store
from tuner.spec.bind import Trainable, home
from tuner.spec.extension import Changes, changes, told
from tuner.spec.load import Loaded, describe, from_mapping
from tuner.spec.load import load as load_file

if TYPE_CHECKING:
    from tuner.audit import Audit
    from tuner.core.state import RunState
    from tuner.engine.available import Places
    from tuner.engine.follow import Observer
    from tuner.engine.mirror import Mirror
    from tuner.outputs.console import Terminal
    from tuner.outputs.live import Show
    from tuner.outputs.results import Result
    from tuner.slot.code import Code

LEAVE_SECONDS = 5.0
"""How long the copy at a URL, and the report, are waited for where the process has to end."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is driven: the flags of the command line, for Python."""

    address: str | None = None
    """An existing Ray cluster."""
    dashboard: bool = True
    """Start Ray's dashboard, if Ray is started."""
    json: bool = False
    """Print one event a line on stdout, all else on stderr."""
    may_exit: bool = False
    """End the process where its main thread hangs in Ray, or an interrupt would meet it while Ray starts."""
    mirror: Mirror | None = None
    """The copy of a run that is stored at a URL; `run` and `resume` make it."""


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Loaded:
    """Read and check an experiment: a YAML file, a name under search_spaces/, or a mapping.

    `overrides` are `KEY=VALUE` texts; `trainable` of a mapping may be the function itself. Nothing of the function's
    module is imported. Returns what `run` takes. Raises UserError that lists all that is wrong.
    """
    if isinstance(source, Mapping):
        return from_mapping(dict(source), Path.cwd(), overrides)
    return load_file(source, overrides)


def run(
    experiment: Loaded | str | Path | Mapping[str, Any], name: str | None = None, options: Options | None = None
) -> Result:
    """Run an experiment to its end in `runs/NAME`, or in `NAME` under its `storage`.

    The name is that of the YAML with the time unless one is given. Returns when the run is over, which may take hours.
    Raises UserError, RunFailed, ClusterError or Interrupted; the run can be resumed after the last two.
    """
    loaded = learn(experiment if isinstance(experiment, Loaded) else load(experiment))
    loaded.refuse_missing()
    where = place(loaded.experiment.storage, new_name(name, loaded.file))
    refuse_taken(folder := where.folder)
    with _mirrored(where, is_new=True) as mirror:
        _create(folder, loaded)
        return _drive(folder, loaded, replace(options or Options(), mirror=mirror))


def _create(folder: Path, loaded: Loaded) -> None:
    from tuner.engine.run import create
    from tuner.outputs.experiment import write

    home = loaded.file.parent.resolve()
    try:
        create(folder, loaded.experiment, home)
        write(folder, loaded.experiment, home)
    except OSError as error:
        raise ClusterError(f"{folder}: {error}. Mend that, or choose another storage.") from error


def _mirrored(where: Place, is_new: bool = False) -> AbstractContextManager[Mirror | None]:
    """Hold the lease of a run that is stored at a URL, and its copy there."""
    if not where.url:
        return nullcontext()
    from tuner.engine.mirror import Mirror

    return Mirror(where.url, where.folder, is_new)


def resume(run: str | Path, options: Options | None = None, overrides: Sequence[str] = ()) -> Result:
    """Go on with a run from where its ledger stands; one that is finished gets its missing files anew.

    `overrides` are `KEY=VALUE` texts: a larger budget (trials, epochs, hours, a harder target), more to `confirm`, and
    other settings of `resources`, `checkpoint` and `watchdog`; other `loggers` are those of this driver alone. Raises
    UserError where there is no such run, another process drives it, or what is overridden has to stay; else as `run`.
    """
    from tuner.outputs.results import read_state

    where = find_place(run)
    with _mirrored(where) as mirror:
        if mirror is not None:
            mirror.bring()
        state = read_state(where.folder)
        loaded = _reload(where.folder, state, overrides)
        loaded.refuse_missing()
        hours, over = state.elapsed / 3600, state.finished()
        new = changes(state.spec, loaded.experiment, hours, len(state.trials), over, state.closed) if overrides else {}
        news = told(state.spec, new, state.horizon)
        return _drive(where.folder, loaded, replace(options or Options(), mirror=mirror), new, news)


def _reload(folder: Path, state: RunState, overrides: Sequence[str]) -> Loaded:
    """Find the functions of a run again; `overrides` change what its ledger says of it."""
    if state.spec.trainable.startswith("__main__:"):
        fix = "Put it into a module, and start anew; what the run found so far stays as it is."
        raise UserError(Problem(str(folder), "trainable", "must be a function that can be imported, but got one "
                                "that was given from a notebook or a script", fix))  # fmt: skip
    return from_mapping(state.spec.model_dump(exclude_none=True), home(Path(state.folder)), overrides, is_new=False)


def stop(run: str) -> str:
    """Stop a run, or one trial of it (`RUN/TRIAL`), from outside; says what came of it."""
    from tuner.engine.ask import stop as ask

    folder, trial = find_stopped(run)
    try:
        return ask(folder, trial, refuse_left)
    except OSError as error:
        raise ClusterError(f"{folder}: {error}. Mend that, or send its driver a SIGINT.") from error


def audit(run: str | Path, progress: Callable[[int], None] = lambda done: None) -> Audit:
    """Decide everything in a run's ledger anew, and compare."""
    from tuner.audit import audit as decide_anew
    from tuner.ledger import read
    from tuner.versions import versions

    return decide_anew(read(find_run(run)), versions(), progress=progress)


def places(loaded: Loaded, options: Options) -> Places:
    """Tell how many trials would run at once, and on what; raises ClusterError where one does not fit."""
    from tuner.engine import available

    loaded.refuse_missing()
    spec, code, travels = loaded.experiment, _code(loaded), partial(_travels, loaded)
    return available.places(spec, options.address, options.dashboard, store(spec.storage), code, travels)


def _travels(loaded: Loaded) -> Path | None:
    from tuner import ship

    return ship.folder(loaded)


def _code(loaded: Loaded) -> Code:
    return replace(to_code(loaded.trainable, loaded.function), fixed=loaded.experiment.fixed)


def local_trial(loaded: Loaded, show: Any = print) -> None:
    """Run the first trial in this very process, open to a debugger; nothing is kept."""
    import tempfile

    from tuner.engine.assign import assign_first
    from tuner.trial.local import LocalTrial

    function = loaded.function or to_code(loaded.trainable).load()
    with tempfile.TemporaryDirectory(prefix="tuner-local-") as folder:
        assignment = assign_first(loaded.experiment, folder)
        show(f"trial {assignment.trial}: {assignment.params}")
        if (ranks := loaded.experiment.resources_of(assignment.params).world_size) > 1:
            show(f"note: one process trains here, not {ranks} ranks")
        trial = LocalTrial(assignment, show)
        if loaded.trainable.plain_ray:
            from tuner.slot import ray_session

            ray_session.call(function, trial)
        else:
            function(trial, **assignment.params)


def to_code(trainable: Trainable, function: Callable[..., Any] | None = None) -> Code:
    """Turn what the spec bound, or a function that cannot be imported, into what a slot loads."""
    from tuner.slot.code import Code

    pickled = b""
    if function:
        import cloudpickle

        pickled = bytes(cloudpickle.dumps(function))
    return Code(
        pickled=pickled, module=trainable.module, function=trainable.function,
        file=str(trainable.file) if trainable.file else None, root=str(trainable.root), plain_ray=trainable.plain_ray,
    )  # fmt: skip


def _drive(
    folder: Path, loaded: Loaded, options: Options, new: Changes | None = None, news: Sequence[str] = ()
) -> Result:
    from tuner.outputs.console import aside
    from tuner.outputs.results import Result

    try:
        with aside(folder / "driver.log") as terminal:
            _drive_aside(folder, loaded, options, terminal, new or {}, news)
    except OSError as error:
        raise ClusterError(f"{folder}: {error}. Mend that, then go on with --resume.") from error
    return Result(folder)


def _drive_aside(
    folder: Path, loaded: Loaded, options: Options, terminal: Terminal, new: Changes, news: Sequence[str]
) -> None:
    from tuner.outputs.console import console
    from tuner.outputs.ending import finish
    from tuner.outputs.farewell import farewell
    from tuner.outputs.live import Show

    show = Show(console(terminal.err if options.json else terminal.out))
    with show:
        show.say(f"Run {folder}: {describe(loaded)}")
        for line in news:
            show.say(line)
        try:
            _engine(folder, loaded, options, terminal, show, new)
        except Locked:
            raise
        except TunerError as error:
            if isinstance(error, Interrupted | ClusterError):
                show.say(how_to_go_on(folder, options.address))
            with suppress(OSError):  # what ended the run is worth more than a summary of it, which can be made again
                finish(folder, _left(error), options.mirror, show.say, LEAVE_SECONDS)
            raise
        run = finish(folder, "finished", options.mirror, show.say)
    farewell(folder, run, show.console)


def _engine(folder: Path, loaded: Loaded, options: Options, terminal: Terminal, show: Show, new: Changes) -> None:
    from tuner.engine.run import drive

    drive(
        folder,
        _code(loaded),
        to_code(loaded.test) if loaded.test else None,
        lambda: _observers(folder, loaded, options, terminal, show),
        address=options.address,
        dashboard=options.dashboard,
        changes=new,
        travels=partial(_travels, loaded),
        say=show.say,
        farewell=(lambda error: _leave(folder, terminal, show, error, options)) if options.may_exit else None,
        mirror=options.mirror,
    )


def _leave(folder: Path, terminal: Terminal, show: Show, error: TunerError, options: Options) -> None:
    """Say, in another thread, what there is to say before the process ends."""
    from tuner.outputs.ending import finish

    show.say(how_to_go_on(folder, options.address))
    show.__exit__()
    if not isinstance(error, Interrupted):
        print(error, file=terminal.err, flush=True)
    with suppress(OSError):
        finish(folder, _left(error), patience=LEAVE_SECONDS)
    if options.mirror is not None:
        try:
            options.mirror.close(LEAVE_SECONDS)
        except TunerError as problem:
            if problem is not error:
                print(problem, file=terminal.err, flush=True)


def _left(error: TunerError) -> str:
    """Tell in which state an error leaves a run."""
    return "stopped" if isinstance(error, Interrupted) else "failed"


def _observers(folder: Path, loaded: Loaded, options: Options, terminal: Terminal, show: Show) -> list[Observer]:
    from tuner.engine.keep import Folder, Keeper
    from tuner.outputs.observers import observers

    keeper = Keeper(Folder(folder), *([options.mirror] if options.mirror else []))
    json = terminal.out if options.json else None
    return [*observers(folder, loaded.experiment.loggers, show, json), keeper]
