"""The `trial` that a trainable gets."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tuner.errors import UserError
from tuner.trial import checkpoint, media, parallel, randomness, tracked
from tuner.trial.accumulation import Accumulation
from tuner.trial.assignment import Assignment
from tuner.trial.channel import Channel, Costs, Probed, Tested
from tuner.trial.growth import Growth
from tuner.trial.loaders import Loaders, leave_cpus_to_workers
from tuner.trial.meter import Meter, meter
from tuner.trial.metrics import as_epoch, as_numbers, check_report
from tuner.trial.pace import PROBE_STEPS, Pace
from tuner.trial.precision import Precision
from tuner.trial.ranks import Ranks
from tuner.trial.stopping import is_stopping
from tuner.trial.tracked import OWN

if TYPE_CHECKING:
    import torch

Batch = TypeVar("Batch")


class Trial:
    """One configuration in training: its params, its loop, its reports and its checkpoints."""

    def __init__(
        self, assignment: Assignment, channel: Channel, ranks: Ranks | None = None, measures: Meter | None = None
    ) -> None:
        self._assignment, self._channel, self._ranks = assignment, channel, ranks or Ranks()
        self._meter = measures or meter(assignment.gpus, assignment.context)
        self._pace = Pace(PROBE_STEPS if assignment.task == "probe" else None)
        self._tracked: dict[str, Any] = {}
        self._initial: dict[str, Any] = {}
        self._test: Callable[[], Mapping[str, float]] | None = None
        self._epoch = self._reported = self._saved = assignment.epoch
        self._looping = False
        self._carried: Path | None = None
        self._unsaved: list[dict[str, Any]] = []
        """What was reported since the last checkpoint."""
        self._source = Path(assignment.run) / assignment.checkpoint if assignment.checkpoint else None
        if self._source is not None:
            checkpoint.read_manifest(self._source)
        self._own: dict[str, Any] = (checkpoint.load(self._source, OWN) or {}) if self._source else {}
        self._randomness_due = self._source is not None or self.rank > 0
        self._states = self._ranks.own_of(self._own) if self._source and not assignment.cloned else None
        self._loaders = Loaders(self._states, assignment.epoch if assignment.cloned else 0)
        self._accumulation = Accumulation(assignment.parts, self._ranks)
        self._precision, self.growth = Precision(assignment.precision), Growth()
        self._verify, self._began = assignment.verify, time.monotonic()

    @property
    def id(self) -> str:
        """The trial's name in the run, such as `t0007`."""
        return self._assignment.trial

    @property
    def params(self) -> dict[str, Any]:
        """All keyword arguments of the function, those of `fixed` among them; a copy."""
        return dict(self._assignment.params)

    @property
    def seed(self) -> int:
        """The trial's own seed; the generators of Python, numpy and torch start from it."""
        return self._assignment.seed

    @property
    def folder(self) -> Path:
        """The trial's own folder `trials/<id>/`, for files of any kind."""
        return self._assignment.folder

    @property
    def total_epochs(self) -> int:
        """The budget's epochs: the horizon of a schedule. It stays when a resume gives the run a larger budget."""
        return self._assignment.horizon or self._assignment.epochs

    @property
    def last_epoch(self) -> int:
        """The epoch at which the trial ends: the budget's last one, also of a larger budget that a resume has given."""
        return self._assignment.epochs

    @property
    def rank(self) -> int:
        """The number of this process among the `ranks` of the trial, from 0."""
        return self._ranks.rank

    @property
    def ranks(self) -> int:
        """How many processes train this trial together; 1 unless `resources` says otherwise."""
        return self._ranks.ranks

    @property
    def device(self) -> torch.device:
        """The device this process trains on; with several GPUs the first of them."""
        import torch

        return torch.device("cuda" if self._assignment.gpus and torch.cuda.is_available() else "cpu")

    @property
    def devices(self) -> list[torch.device]:
        """All devices of this process: its GPUs, or the CPU."""
        return parallel.devices(self._assignment.gpus)

    def prepare(self, *things: Any) -> Any:
        """Prepare models and loaders for the devices and ranks of this trial; returns them in the same order.

        A model is moved to `device`, and with several ranks wrapped in DistributedDataParallel; of a DataLoader each
        rank gets its own part of the samples, with the same `batch_size`: a step sees ranks x batch_size samples. One
        process with several GPUs gets DataParallel. Call it on every rank, before the optimizer is made.
        """
        epoch = self._epoch if self._looping else 0
        prepared = [parallel.prepare(thing, self._ranks, self.devices, self.seed, epoch) for thing in things]
        return prepared[0] if len(prepared) == 1 else tuple(prepared)

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the YAML's `precision`: `with trial.autocast(): loss = criterion(model(x), y)`."""
        return self._precision.autocast(self.device.type)

    @property
    def scaler(self) -> torch.amp.GradScaler:
        """The scaler of gradients that fp16 needs, saved and restored with the trial; otherwise it does nothing."""
        return self._precision.scaler(self.device.type, self._tracked, self.track)

    def track(self, **objects: Any) -> None:
        """Save these objects with each report; when a trial resumes they are restored inside this call.

        Each needs `state_dict` and `load_state_dict`. Call it once models, optimizers and schedulers are made. Raises
        UserError where one has not both, or where a checkpoint does not hold it.
        """
        for name, thing in objects.items():
            tracked.check(name, thing)
            self._tracked[name] = bare = parallel.unwrapped(name, thing)  # it loads again without
            self._initial[name] = tracked.initial(bare)
            self._accumulation.gate(bare)
        for name in tracked.in_order(self._tracked, list(objects)):
            self._restore(name)
        self._accumulation.tell_of_mixing(objects.values())

    def example(self, *inputs: Any, **named: Any) -> None:
        """Show, before `track`, what the model is called with: `best/` gets the best one in torch.export's format."""

    def epochs(self) -> Iterator[int]:
        """Yield the epochs still to be trained: from the one after the checkpoint to the budget's last; 1-based."""
        self._run_test_if_asked()
        self._restore_randomness()
        self._looping = True
        for epoch in range(self._epoch + 1, self._assignment.epochs + 1):
            self._epoch = epoch
            yield epoch
        self._looping = False

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a loader; the state of its random generators is saved and restored with the trial.

        A trial that ran out of memory gets each batch in two parts. The tracked optimizers still step once a batch, on
        the same gradients, if the loss is a mean over its batch.
        """
        self._loaders.meet(loader, self._epoch if self._looping else self._reported + 1)
        leave_cpus_to_workers(loader, self._assignment.cpus)
        yield from self._accumulation.batches(self.growth.watch(self._pace.over(loader)))

    def test(self, function: Callable[[], Mapping[str, float]]) -> None:
        """Register what measures the model on the test split; it is called once, for the best trial, restored.

        Call it before the loop over `epochs`. The function gives the numbers by their names.
        """
        self._test = function

    def log(self, name: str, what: Any, *, histogram: bool = False) -> None:
        """Keep for TensorBoard a text, an image of shape (H, W), (H, W, 3) or (3, H, W), or any tensor's histogram."""
        if self.rank == 0:
            media.write(self.folder / "media", name, max(self._epoch, 1), what, histogram)

    def report(self, metrics: Mapping[str, Any] | None = None, /, *, epoch: int | None = None, **more: Any) -> None:
        """Report an epoch's metrics, which must hold the objective; saves a checkpoint, and may not return.

        The epoch is that of the loop over `epochs`, else the one after the last report, unless it is given. Make it the
        last thing of an epoch: what the loop does after it is not in the checkpoint, and after that of the last epoch
        the function has 5 s to return. With several ranks each one has to call it: the means of their metrics count.
        Raises UserError where the objective is missing or epochs go back.
        """
        self._run_test_if_asked()
        epoch = self._which_epoch(epoch)
        values = {**(as_numbers(metrics) if metrics is not None else {}), **as_numbers(more)}
        check_report(values, (self._assignment.metric, *self._assignment.objectives), self._assignment.constrained)
        costs = self.costs()
        if self._assignment.task == "probe":
            raise Probed(costs.step or costs.seconds)
        states = {"randomness": randomness.capture(), **self._loaders.states()}
        values, met = self._ranks.agree(epoch, values, (costs, states))
        if self.rank == 0:
            self._precision.tell()
            self._hand_in(epoch, values, Costs.most(costs for costs, _ in met), [states for _, states in met])
        self._ranks.gather(None)  # the others wait until the first may go on
        self._reported, self._carried, self._began = epoch, None, time.monotonic()

    def _hand_in(self, epoch: int, values: dict[str, float], costs: Costs, states: list[dict[str, Any]]) -> None:
        self._unsaved.append({"epoch": epoch, "metrics": values, **asdict(costs)})
        # A trial whose objective is not finite ends as diverged: nobody goes on from there.
        saves = self._assignment.is_finite(values) and (
            self._assignment.saves(self._reported, epoch) or is_stopping(Path(self._assignment.run), self.folder)
        )
        path = self._save(epoch, states) if saves else None
        self._channel.report(epoch, values, path, replace(costs, seconds=time.monotonic() - self._began))

    def tested(self, returned: Any) -> dict[str, float]:
        """Measure after the function returned from a test: by what it registered, else what it returned counts."""
        if self._test is not None:
            return self._measured()
        return as_numbers(returned, "trial.test") if returned is not None else {}

    @property
    def could_split(self) -> bool:
        """Tell whether smaller parts of each batch could be trained to the same end, were there not enough memory."""
        return self._accumulation.could_split(self._tracked.values())

    def carry(self, folder: Path) -> None:
        """Copy a folder of the function's own into the checkpoint of the next report."""
        self._carried = folder

    @property
    def carried(self) -> Path | None:
        """The folder that was carried into the checkpoint from which this trial goes on."""
        folder = self._source / checkpoint.CARRIED if self._source else None
        return folder if folder and folder.exists() else None

    def costs(self) -> Costs:
        """Tell what was taken since the last report."""
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        seconds, step = time.monotonic() - self._began, self._pace.take()
        return Costs(seconds, resident, self._meter.peak(), step, self._meter.context())

    def _which_epoch(self, given: int | None) -> int:
        epoch = as_epoch(given) if given is not None else self._epoch if self._looping else self._reported + 1
        if epoch <= self._reported:
            raise UserError(f"trial.report: epochs must go up, but got epoch {epoch} after epoch {self._reported}.")
        self._epoch = epoch
        return epoch

    def _save(self, epoch: int, states_of_ranks: list[dict[str, Any]]) -> str | None:
        if not self._tracked and self._carried is None:
            return None
        path = self._assignment.checkpoint_name(epoch)
        own = {
            "initial": {name: tracked.initial_by_now(self._tracked[name], at) for name, at in self._initial.items()},
            **states_of_ranks[0],
            "other_ranks": states_of_ranks[1:],
        }
        states = {**{name: thing.state_dict() for name, thing in self._tracked.items()}, OWN: own}
        kinds = {name: tracked.kind_of(thing) for name, thing in self._tracked.items()}
        facts = {
            "trial": self.id, "generation": self._assignment.generation, "epoch": epoch, "kinds": kinds,
            "after": self._saved, "reports": self._unsaved, "has_test": self._test is not None,
        }  # fmt: skip
        at = Path(self._assignment.run) / path
        with self._meter.aside():
            waited = checkpoint.save_patiently(self._channel, at, states, self._carried, check=self._verify, **facts)
        self._began += waited  # no part of what the epoch takes
        self._verify, self._unsaved, self._saved = False, [], epoch
        return path

    def _restore(self, name: str) -> None:
        if self._source is None:
            return
        state, thing = checkpoint.load(self._source, name), self._tracked[name]
        if state is None and tracked.kind_of(thing) == "scaler":
            return  # the function has one since, and it finds its scale anew
        if state is None:
            raise UserError(f"trial.track({name}=...): is not in the checkpoint {self._source}. Was it renamed since?")
        initials = (self._initial[name], self._own["initial"].get(name)) if self._assignment.cloned else None
        tracked.restore(thing, state, initials)

    def _restore_randomness(self) -> None:
        """Set the generators last of all: making models and loaders has drawn from them."""
        if self._randomness_due:
            if self._states is not None:
                randomness.restore(self._states["randomness"])
            else:  # models are alike on all ranks by now; dropout is not, nor after a clone what it was at the start
                randomness.seed_all(self.seed + self.rank + self.ranks * self._epoch)
            self._randomness_due = False
        self._loaders.begin()

    def _run_test_if_asked(self) -> None:
        if self._assignment.task == "test":
            raise Tested(self._measured())

    def _measured(self) -> dict[str, float]:
        for name in tracked.in_order(self._tracked, list(self._tracked)):
            self._restore(name)
        return as_numbers(self._test(), "trial.test") if self._test else {}
