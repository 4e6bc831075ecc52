"""Small experiments, and runs driven by hand or by dice: no Ray, no files, no clock."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, get_args

from tuner.core.events import Event, Failed, Free, Gone, Reported, Returned
from tuner.core.lines import from_json, to_json
from tuner.core.records import (
    SCHEMA,
    Cause,
    Decision,
    Header,
    Record,
    Report,
    Session,
    Suggested,
    trial_id,
)
from tuner.core.run import Core
from tuner.core.search.kinds import make_asker
from tuner.core.search.thaw import FreezeThaw
from tuner.core.trial import TrialState
from tuner.simulate import Curve, Simulation
from tuner.spec.experiment import Experiment

USUAL: dict[str, Any] = {
    "trainable": "module:function",
    "objective": {"metric": "score", "mode": "max"},
    "budget": {"trials": 100, "epochs": 100},
    "space": {"x": {"dist": "float", "low": 0.0, "high": 1.0}},
    "search": {"kind": "random"},
    "scheduler": {"kind": "none"},
}
PLAIN: dict[str, Any] = {
    "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
    "momentum": {"dist": "float", "low": 0.5, "high": 0.99},
    "layers": {"dist": "int", "low": 1, "high": 8},
}
STEPPED: dict[str, Any] = {
    "dropout": {"dist": "float", "low": 0.1, "high": 0.5, "step": 0.1},
    "layers": {"dist": "int", "low": 1, "high": 7, "step": 2},
    "widths": {"dist": "choice", "values": [[8, 16], None, "auto"]},
}
CONDITIONAL: dict[str, Any] = {
    # Named before what it depends on: the order is not that of the file.
    "nesterov": {"dist": "choice", "values": [True, False], "when": {"momentum": [0.5, 0.9]}},
    "momentum": {"dist": "choice", "values": [0.0, 0.5, 0.9], "when": {"optimizer": "sgd"}},
    "optimizer": {"dist": "choice", "values": ["sgd", "adam", None]},
    "beta": {"dist": "float", "low": 0.8, "high": 0.999, "when": {"optimizer": "adam"}},
    "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
    "widths": {"dist": "choice", "values": [[8, 16], [16, [32]], None]},
}
AUTO: dict[str, Any] = {"kind": "auto"}


def experiment(**parts: Any) -> Experiment:
    """Make an experiment over one float, but for the parts that are given."""
    return Experiment.model_validate({**USUAL, **parts})


def auto(seed: int = 0, trials: int = 60, epochs: int = 20, **parts: Any) -> Experiment:
    """Make an experiment whose search and scheduler are auto."""
    usual = {"space": PLAIN, "search": AUTO, "scheduler": AUTO, "seed": seed}
    return experiment(**{**usual, "budget": {"trials": trials, "epochs": epochs}, **parts})


def rebuilt(spec: Experiment, records: Iterable[Record]) -> Core:
    """Make a core from records alone."""
    core = Core(spec, make_asker(spec))
    for record in records:
        core.apply(record)
    return core


def decides_alike_in_threads(spec: Experiment, records: list[Record], cuts: Iterable[int]) -> None:
    """Assert that a run that was cut off at any of these records goes on alike, wherever its model is fitted."""
    with ThreadPoolExecutor(1) as pool:
        for cut in cuts:
            at_need, asker = rebuilt(spec, records[:cut]), FreezeThaw(spec)
            asker.model.later = lambda job: pool.submit(job).result
            ahead = Core(spec, asker)
            for record in records[:cut]:
                ahead.apply(record)
            assert at_need.asker.model.is_ready == asker.model.is_ready  # type: ignore[attr-defined]
            assert at_need.rule.next(at_need.run) == ahead.rule.next(ahead.run)
            assert at_need.decide(Free()) == ahead.decide(Free())


class Hand:
    """A run whose every event is given by the test."""

    def __init__(self, spec: Experiment, slots: int = 100) -> None:
        self.spec = spec
        self.core = Core(spec, make_asker(spec))
        self.records: list[Record] = []
        self.take(Header(schema=SCHEMA, name="hand", spec=spec.model_dump(), folder="."))
        self.take(Session(attempt=1, host="h", pid=1, slots=slots, versions={}))

    def take(self, record: Record) -> None:
        """Apply a record as a ledger would give it back."""
        self.records.append(from_json(to_json(record)))
        self.core.apply(self.records[-1])

    def do(self, event: Event) -> Record | None:
        """Decide on an event and take in the record."""
        record = self.core.decide(event)
        if record is not None:
            self.take(record)
        return record

    def start(self, count: int, **params: Any) -> list[str]:
        """Begin new trials with params of the test's choice."""
        names = [trial_id(len(self.core.run.trials) + i) for i in range(count)]
        for name in names:
            self.take(Suggested(trial=name, params=params, choices={}, seen=0))
        return names

    def trial(self, name: str) -> TrialState:
        """Look at a trial."""
        return self.core.run.find(name)

    def report(self, name: str, epoch: int, value: float | Mapping[str, float], checkpoint: bool = True) -> Decision:
        """Let a trial report; the report must be new."""
        record = self.do(self.reported(name, epoch, value, checkpoint))
        assert isinstance(record, Report)
        return record.decision

    def reported(self, name: str, epoch: int, value: float | Mapping[str, float], checkpoint: bool = True) -> Reported:
        """Make the event of a report of the objective, or of all metrics."""
        generation = self.trial(name).generation
        path = f"trials/{name}/checkpoints/g{generation}_e{epoch:04d}_a1.0" if checkpoint else None
        metrics = dict(value) if isinstance(value, Mapping) else {self.spec.objective.metric: value}
        return Reported(trial=name, generation=generation, epoch=epoch, metrics=metrics, checkpoint=path)


def play(spec: Experiment, curve: Curve, slots: int = 3, seed: int = 0, faults: float = 0.05) -> Hand:
    """Play a run to its end with reports in a random order, and with lost workers, failures and early returns."""
    return play_on(Hand(spec, slots), curve, seed, faults)


def play_on(hand: Hand, curve: Curve, seed: int = 0, faults: float = 0.05) -> Hand:
    """Play a run that has begun to its end."""
    run, dice = hand.core.run, random.Random(seed)
    while not run.finished():
        while len(list(run.having("running"))) < run.slots and hand.do(Free()) is not None:
            pass
        running = list(run.having("running"))
        if not running:
            break
        trial = dice.choice(running)
        epoch = trial.epoch + 1
        if dice.random() >= faults:
            hand.do(hand.reported(trial.id, epoch, curve(trial.params, epoch)))
        elif trial.reports:
            causes = [
                cause for cause in get_args(Cause) if cause not in ("memory", "foresight")
            ]  # which come otherwise
            gone = [Gone(trial=trial.id, reason="node", cause=cause) for cause in causes]
            hand.do(dice.choice([*gone, Returned(trial=trial.id)]))
        else:
            hand.do(Failed(trial=trial.id, outcome="failed", reason="ValueError: x", error="Traceback"))
    assert run.finished()
    return hand


def begun(records: Iterable[Record]) -> int:
    """Count the trials that were begun."""
    return sum(isinstance(record, Suggested) for record in records)


def smooth(params: Mapping[str, Any], epoch: int) -> float:
    """Learn towards a height that falls with the distance from lr 0.01 and momentum 0.9, the faster the better."""
    away = (math.log10(params["lr"]) + 2) ** 2 + (10 * (params["momentum"] - 0.9)) ** 2
    return -away - 3 * 0.8**epoch


def curve(params: Mapping[str, Any], epoch: int) -> float:
    """Learn towards a height that the numbers among the params fix; no two configurations are alike."""
    numbers = [float(value) for value in params.values() if isinstance(value, int | float)]
    height = sum((i + 1) * number for i, number in enumerate(numbers)) % 1
    return height * (1 - 0.6**epoch)


def simulate(spec: Experiment, curve: Curve, slots: int = 1) -> list[Record]:
    """Simulate a run to its end."""
    return Simulation(spec, curve, slots).run()


def resumed(spec: Experiment, curve: Curve, prefix: Iterable[Record]) -> list[Record]:
    """Go on from the records of a ledger, with one slot and the same curves."""
    prefix = list(prefix)
    return continued(rebuilt(spec, prefix), curve, prefix)


def continued(core: Core, curve: Curve, records: Iterable[Record], count: int | None = None) -> list[Record]:
    """Go on with a core that was built from records, with one slot, up to so many records."""
    simulation = Simulation(core.spec, curve)
    simulation.core, simulation.records = core, list(records)
    return simulation.run(count)


def lines(records: Iterable[Record]) -> list[str]:
    """Write records down as the ledger would, but for the bytes of CMA-ES's pickled state.

    Two pickles of the same state may differ in which equal objects they share.
    """
    return [to_json(_without_pickles(record)) for record in records]


def _without_pickles(record: Record) -> Record:
    if not isinstance(record, Suggested):
        return record
    kept = {name: value for name, value in record.attributes.items() if not name.startswith("cma:optimizer")}
    return replace(record, attributes=kept)
