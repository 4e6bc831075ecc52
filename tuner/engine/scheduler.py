"""The adapter through which Ray Tune tells what happened, and learns whether a trial goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray.tune import Stopper
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tuner.engine.cluster import knock
from tuner.engine.live import LiveRun
from tuner.engine.numbers import number_workers
from tuner.engine.run_gauges import RunGauges
from tuner.engine.search import Search
from tuner.engine.worker import HEARD
from tuner.engine.workers import Workers

GONE = "the worker is gone"
DIED = "The actor is dead because "
"""So begins the line of Ray's error that tells how."""


class Scheduler(TrialScheduler):  # type: ignore[misc]
    """Passes each result on to the live run."""

    def __init__(self, live: LiveRun, search: Search) -> None:
        super().__init__()
        self.live, self.search = live, search
        self._workers = Workers()
        self._machines: dict[str, str] = {}
        """Ray's trial id → the machine that it was last heard of from."""
        self._actors: dict[str, Any] = {}
        """Our trial → the actor that runs it, as far as it was heard of."""
        if live.storage:
            live.stops.tell = self._tell

    def _tell(self, trial: str | None) -> None:
        """Have workers that do not see the run's folder make the marks that are made there."""
        for actor in [self._actors.get(trial)] if trial is not None else self._actors.values():
            if actor is not None:
                actor.mark.remote()

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Have Ray keep every worker, and no ended trial."""
        controller = _own(tune_controller)
        number_workers(controller._actor_manager)
        # A snapshot of each trial, for a file that nobody reads.
        controller._mark_trial_to_checkpoint = lambda trial: None
        # Made at each turn out of all placement groups, for a progress report that is off.
        controller._used_resources_string = lambda: ""
        self._keep_workers(controller, trial)
        # It walks over all trials at each turn; those that ended are in the ledger.
        controller._trials[:] = [known for known in controller._trials if not known.is_finished()]
        controller._stopped_trials.clear()
        controller._failed_trials.clear()

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Write the reports down, then answer; the worker learns it from its next call."""
        events, node, worker, self._machines[trial.trial_id] = result[HEARD]
        name, generation = self.search.stints[trial.trial_id]
        self.live.fleet.runs_on(name, self._machines[trial.trial_id])
        self._workers.heard(_own(tune_controller), trial, self._machines[trial.trial_id])
        self._actors[name] = trial.temporary_state.ray_actor
        goes_on = all(self.live.heard(name, generation, event, node, worker) == "go" for event in events)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """A worker is gone: its trial waits for another."""
        name, _ = self.search.stints[trial.trial_id]
        if self.search.latest[name] != trial.trial_id:
            return  # late news of a worker whose trial has another by now
        self._actors.pop(name, None)
        machine = self._machines.pop(trial.trial_id, "")
        if machine and _is_gone(machine):
            self.live.lost(name, "the machine is gone", machine)
        else:
            self.live.lost(name, _reason(trial))

    def on_trial_complete(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> None:
        """Forget where it ran, and let workers go that no trial is left for; the decision was ours."""
        _end(trial)
        self._machines.pop(trial.trial_id, None)
        self._actors.pop(self.search.stints[trial.trial_id][0], None)
        self._keep_workers(_own(tune_controller), trial)

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """End it where a worker is about to begin it; the decision was ours."""
        _end(trial)

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Leave it to Ray to start what waits, in order, but not for or on machines that are gone or about to go."""
        controller, nodes = _own(tune_controller), self.live.placement.nodes
        if leaving := {node.name for node in nodes if node.leaving}:
            self._workers.leave(controller, leaving)
        stay = {"", *(node.name for node in nodes if not node.leaving)}
        for trial in [one for one in controller._pending_trials if one.config["assignment"].node not in stay]:
            controller.stop_trial(trial)  # it was made for the GPUs of one machine, for which Ray would wait for ever
            self.live.taken_back(trial.config["assignment"].trial, "the machine that it waited for is gone")
        return None

    def _keep_workers(self, controller: Any, trial: Trial) -> None:
        most = self.live.fleet.at_once(self.live.placement.slots)
        self._workers.keep(controller, trial.placement_group_factory, most)

    def debug_string(self) -> str:
        """Nothing to add."""
        return ""


class StopAll(Stopper):  # type: ignore[misc]
    """Ends Ray's loop when the run is over."""

    def __init__(self, live: LiveRun) -> None:
        self.live = live
        self.gauges = RunGauges(live.core.run)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial: the scheduler does."""
        return False

    def stop_all(self) -> bool:
        """Asked at each turn of Ray's loop."""
        self.live.tick()
        self.gauges.show(self.live.working)
        return self.live.comes_to_end()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Ray writes its stoppers into a snapshot that nobody reads; this one holds open files."""
        return object, ()


def _own(controller: Any) -> Any:
    """Get at Ray's controller itself: some of its calls wrap it, some do not."""
    return getattr(controller, "_tune_controller", controller)


def _end(trial: Trial) -> None:
    """Have its worker end it now: Ray keeps the worker, which would let it train on until it gets another trial.

    Calls of one worker keep their order: this one comes before the next trial's, and before the end of the worker.
    """
    if (actor := trial.temporary_state.ray_actor) is not None:
        actor.end.remote()


def _reason(trial: Trial) -> str:
    """Say why Ray takes a worker for gone: how it died, without Ray's list of what may be the cause, or what it raised.

    Ray's own `get_error` looks for the file where it would be copied to.
    """
    try:
        lines = Path(trial.error_file or "").read_text(errors="replace").strip().splitlines()
    except OSError:
        return GONE
    died = next((line for line in lines if line.startswith(DIED)), "").partition(" Some common causes")[0]
    return f"{GONE}: {died or lines[-1]}" if lines else GONE


def _is_gone(machine: str) -> bool:
    """Tell whether a machine of the cluster is dead; Ray itself says so only after some missed heartbeats."""
    node = next((node for node in ray.nodes() if node["NodeID"] == machine), None)
    if node is None or not node["Alive"]:
        return True
    try:
        knock(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}", seconds=2)
    except OSError:
        return True
    return False
