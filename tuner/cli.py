"""Flags in, one line and an exit code out. Everything heavy is imported inside functions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuner.called import called
from tuner.errors import ClusterError, Interrupted, TunerError, UserError, remedy

if TYPE_CHECKING:
    from tuner.api import Options
    from tuner.spec.load import Loaded


WEB = ("http://", "https://")
"""How the address of a dashboard begins, to which jobs are submitted."""
EXTRA = ("name", "set", "check", "local", "address", "json", "no_dashboard")
GOES_WITH = {
    ("space", ""): EXTRA,
    ("space", "check"): ("name", "set", "address", "no_dashboard"),
    ("space", "local"): ("set", "no_dashboard"),
    ("resume", ""): ("set", "check", "address", "json", "no_dashboard"),
    ("resume", "check"): ("address", "no_dashboard"),
    ("report", ""): ("address",),
    ("why", ""): ("address",),
    ("stop", ""): ("address",),
    ("replay", ""): ("set", "json"),
}
"""Which other flags have an effect, or do no harm, beside the one that says what to do; none with those not named."""
WHATS = tuple(dict.fromkeys(what for what, _ in GOES_WITH))
"""The flags that say what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the flags say; returns the exit code."""
    flags = parser().parse_args(arguments)
    try:
        return _run(flags)
    except Interrupted as error:
        return error.exit_code
    except TunerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return Interrupted.exit_code
    except BrokenPipeError:  # `| head` has enough; what is left in the buffer would complain at the end of the process
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    """Describe the flags."""
    made = argparse.ArgumentParser(
        prog=called(), description="Tune the hyperparameters of a PyTorch function.", allow_abbrev=False
    )
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--space", metavar="FILE", help="run an experiment: a YAML file, or a name under search_spaces/")
    what.add_argument("--resume", metavar="RUN", help="go on with a run: its folder, or its name under runs/")
    what.add_argument(
        "--report",
        metavar="RUN",
        nargs="+",
        help="print what a run found, and write its page; several are compared",
    )
    what.add_argument("--why", metavar="RUN/TRIAL", help="tell the story of a trial: each decision, and what led to it")
    what.add_argument("--stop", metavar="RUN[/TRIAL]", help="stop a run, or one trial of it, from another terminal")
    what.add_argument("--replay", metavar="RUN", help="what if: play a run's curves again under another scheduler")
    made.add_argument("--name", help="the run's name; the YAML's name and the time by default")
    made.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a key of the YAML; with --resume a larger budget, or how trials are run; with --replay another "
        "scheduler",
    )
    made.add_argument(
        "--check",
        action="store_true",
        help="check everything, print the plan, and run nothing; with --resume decide everything anew and compare",
    )
    made.add_argument("--local", action="store_true", help="run one trial in this process, for a debugger")
    made.add_argument(
        "--address",
        metavar="ADDR",
        help="an existing Ray cluster, HOST:PORT, or http://HOST:PORT of its dashboard to submit a job there; "
        "one is started by default",
    )
    made.add_argument("--json", action="store_true", help="print one event a line on stdout, all else on stderr")
    made.add_argument("--no-dashboard", action="store_true", help="do not start Ray's dashboard")
    return made


def _refuse_misfits(flags: argparse.Namespace) -> None:
    """Refuse flags that would have no effect: whoever gives them expects one."""
    what = next(name for name in WHATS if getattr(flags, name) is not None)
    mode = next((name for name in ("check", "local") if getattr(flags, name) and (what, name) in GOES_WITH), "")
    fitting = GOES_WITH.get((what, mode), ())
    for name in EXTRA:
        if getattr(flags, name) and name not in (*fitting, mode):
            flag = f"--{what} --{mode}" if mode else f"--{what}"
            others = ", ".join(f"--{other.replace('_', '-')}" for other in fitting)
            fix = f"With {flag} go {others}." if others else f"{flag} goes alone."
            raise UserError(f"--{name.replace('_', '-')}: has no effect with {flag}. {fix}")


def _run(flags: argparse.Namespace) -> int:
    _refuse_misfits(flags)
    flags.address = _address(flags)
    if flags.address and "://" in flags.address:
        return _from_afar(flags)
    if flags.address and (flags.report or flags.why or flags.stop or (flags.resume and flags.check)):
        raise UserError(
            f"--address: must be that of a dashboard here, such as http://HOST:8265, but got {flags.address}."
        )
    if flags.report is not None:
        return _report(flags.report)
    from tuner import api

    if flags.why is not None:
        return _why(flags.why)
    if flags.replay is not None:
        return _replay(flags.replay, flags.set, flags.json)
    if flags.stop is not None:
        print(api.stop(flags.stop))
        return 0

    options = api.Options(flags.address, not flags.no_dashboard, flags.json, may_exit=True)
    if flags.resume is not None:
        if flags.check:
            return _audit(flags.resume)
        api.resume(flags.resume, options, flags.set)
        return 0
    if flags.name is not None:
        from tuner.runs import check_name

        check_name(flags.name)
    from tuner.earlier import learn

    loaded = learn(api.load(flags.space, flags.set))
    if flags.check:
        _check(loaded, options)
    elif flags.local:
        api.local_trial(loaded)
    else:
        api.run(loaded, flags.name, options)
    return 0


def _address(flags: argparse.Namespace) -> str | None:
    """Tell which cluster is meant: by the flag, or by RAY_ADDRESS where that says more than HOST:PORT."""
    drives = (flags.space and not flags.local) or (flags.resume and not flags.check)
    told: str | None = flags.address or (os.environ.get("RAY_ADDRESS") if drives or flags.resume else None)
    if told == "auto" and drives:
        from tuner.remote.address import on_this_machine

        return on_this_machine()
    return told if told and told.startswith(WEB) else flags.address


def _from_afar(flags: argparse.Namespace) -> int:
    """Have the cluster do it, as a job."""
    from tuner import api
    from tuner.remote import commands

    if not flags.address.startswith(WEB):
        raise UserError(f"--address: must be HOST:PORT or http://HOST:PORT, but got {flags.address}.")
    if flags.space is not None:
        loaded = api.load(flags.space, flags.set)
        if flags.check:
            return commands.check(flags.address, loaded, flags.set)
        return commands.begin(flags.address, loaded, flags.name, flags.set, flags.json)
    if flags.resume is not None and not flags.check:
        return commands.rejoin(flags.address, flags.resume, flags.set, flags.json)
    if flags.report is not None:
        return commands.report(flags.address, flags.report)
    if flags.resume is not None:
        return commands.ask(flags.address, "--resume", [flags.resume], ["--check"])
    flag, named = ("--why", flags.why) if flags.why is not None else ("--stop", flags.stop)
    return commands.ask(flags.address, flag, [named])


def _check(loaded: Loaded, options: Options) -> None:
    """Print what a run would do, on the cluster that it would join, else on this machine: no Ray is started.

    Raises ClusterError where a machine of the cluster lacks something.
    """
    from pathlib import Path

    from tuner import api
    from tuner.outputs.console import aside
    from tuner.plan import plan
    from tuner.spec.load import describe

    spec = loaded.experiment
    with aside(Path(os.devnull)):
        places = api.places(loaded, options)
    planned = plan(spec, max(1, places.slots))
    print(f"{os.path.relpath(loaded.file)}: {describe(loaded)}")
    grows = "" if places.slots else "; the run would wait for machines that may come"
    print(f"trials at once   {places.slots} on {places.where}{grows}")
    best = f", then up to some {planned.for_the_best} for the best alone," if planned.for_the_best else ""
    print(f"epochs in all    about {planned.epochs}{best}{f' of at most {planned.most}' if planned.most else ''}")
    if planned.reach:
        print("trials that reach an epoch, if the first epochs tell the order of the last:")
    for epoch, count in planned.reach.items():
        print(f"  epoch {epoch:>5}    about {count}")
    if planned.repeats:
        epochs = planned.repeats * spec.budget.epochs
        print(f"confirmation     at most {planned.repeats} repeats on fresh seeds after that, {epochs} epochs more")
    for node in places.nodes if places.findings else ():
        good = "in order: versions, trainable, data, storage" if not places.findings[node.name] else "NOT in order"
        print(f"machine {node.address}: {node.cpus:g} CPUs, {node.gpus} GPUs, {good}")
    if wrong := [finding for found in places.findings.values() for finding in found]:
        raise ClusterError("\n".join(wrong))


def _report(runs: Sequence[str]) -> int:
    from tuner.outputs.console import console
    from tuner.outputs.page.history import History, refuse_strangers
    from tuner.outputs.report import report
    from tuner.runs import find_run, is_fetched

    histories = [History(find_run(run)) for run in runs]
    refuse_strangers([history.run for history in histories])
    for history in histories:
        report(history.run, console(sys.stdout))
    sys.stdout.flush()
    from tuner.outputs.page import write  # only now: it imports plotly and Optuna, which takes longer than the text

    target = write.target(histories, is_fetched(histories[0].folder))
    try:
        written = write.write(histories, target)
    except OSError as error:
        raise ClusterError(f"{target}: {error}. {remedy(error)}") from error
    print(f"Report:       {written}", flush=True)
    return 0


def _why(trial: str) -> int:
    from tuner.outputs.console import console
    from tuner.outputs.results import read_state
    from tuner.outputs.why import why
    from tuner.runs import find_trial

    folder, name = find_trial(trial)
    if name is None:
        run = read_state(folder)
        best = run.best.trial if run.best else "t0000"
        raise UserError(f"--why: must name a trial of the run, but got {trial}. Write --why {trial}/{best}, say.")
    why(folder, name, console(sys.stdout))
    return 0


def _replay(run: str, overrides: Sequence[str], as_json: bool) -> int:
    import json

    from tuner.outputs import replayed
    from tuner.outputs.console import console
    from tuner.runs import find_run

    folder = find_run(run)
    with console(sys.stderr).status("replaying …"):
        state, found = replayed.replayed(folder, overrides)
    if as_json:
        print(json.dumps(replayed.event(state, overrides, found)), flush=True)
    replayed.show(state, overrides, found, console(sys.stderr if as_json else sys.stdout))
    return 0


def _audit(run: str) -> int:
    from tuner import api
    from tuner.outputs.console import console
    from tuner.outputs.grid import clean

    with console(sys.stderr).status("deciding anew …") as status:
        found = api.audit(run, lambda done: status.update(f"deciding anew: record {done}"))
    for what in found.skipped:
        print(f"not compared: {what}")
    print(f"{found.records} records of {found.sessions} sessions; {found.decided} decisions made anew: ", end="")
    print(clean(found.difference) or "all as they stand in the ledger")
    return 1 if found.difference else 0
