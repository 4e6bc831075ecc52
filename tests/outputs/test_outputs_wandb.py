"""Trials at Weights & Biases, offline: a run for each, sent once, and told where they are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import wait_for

from tuner.core.records import Asked
from tuner.core.state import replay
from tuner.core.trial import TrialState
from tuner.ledger import read

from .runs_logged import METRIC, logged, spec
from .runs_made import MIXED, reported, simulated, written
from .services import silent_server, wandb_records

pytestmark = pytest.mark.slow

WANDB = {"kind": "wandb", "project": "p", "mode": "offline"}


def offline(folder: Path) -> dict[str, dict[str, Any]]:
    """Read each trial's W&B run, as soon as its end is written; there must be one folder for each."""
    found = {}
    for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        wait_for(lambda file=file: any(record.WhichOneof("record_type") == "exit" for record in wandb_records(file)))
        one: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "exit": None}
        for record in wandb_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                one |= {"name": record.run.display_name, "group": record.run.run_group, "id": record.run.run_id,
                        "project": record.run.project, "tags": list(record.run.tags)}  # fmt: skip
                one["config"] |= values(record.run.config.update)
            elif kind == "config":
                one["config"] |= values(record.config.update)
            elif kind == "history":
                one["history"].append(values(record.history.item))
            elif kind == "summary":
                one["summary"] |= values(record.summary.update)
            elif kind == "exit":
                one["exit"] = record.exit.exit_code
        assert one["name"] not in found
        found[one["name"]] = one
    return found


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_wandb_has_a_run_for_each_trial(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "run", spec(WANDB))
    for _ in range(2):  # a resume writes the same runs anew
        run, said = logged(folder)
        assert not said
        there = offline(folder)
        assert there.keys() == run.trials.keys()
        for name, trial in run.trials.items():
            one = there[name]
            assert (one["group"], one["project"]) == ("run", "p")
            assert {key: one["config"][key] for key in ("batch", *trial.params)} == {"batch": 64, **trial.params}
            assert [(point["epoch"], point[METRIC], point["_step"]) for point in one["history"]] == [
                (report.epoch, run.objective(report), number) for number, report in enumerate(trial.reports)
            ]
            assert (one["summary"]["outcome"], one["exit"]) == (trial.outcome, 0)
            assert one["summary"][f"best/{METRIC}"] == max(run.objective(report) for report in trial.reports)
        assert run.best is not None
        assert [name for name, one in there.items() if "best" in one["tags"]] == [run.best.trial]
    assert len({one["id"] for one in there.values()}) == len(run.trials)


def test_wandb_sees_a_trial_go_on_with_other_params_and_after_its_end(tmp_path: Path) -> None:
    pbt = {"kind": "pbt", "interval_epochs": 3}
    parts = {"space": {"x": MIXED["lr"]}, "scheduler": pbt, "budget": {"trials": 6, "epochs": 9}}
    folder = simulated(tmp_path / "run", spec(WANDB, **parts), slots=6)
    records = [*read(folder), Asked(budget={"epochs": 12}), reported("t0000", 10, **{METRIC: 0.5})]
    run, said = logged(folder, records)
    assert not said
    there = offline(folder)
    cloned = next(trial for trial in run.trials.values() if trial.generation)
    assert there[cloned.id]["config"]["x"] == cloned.params["x"]
    assert [point["params/x"] for point in there[cloned.id]["history"]] == [
        cloned.params_of(report.generation)["x"] for report in cloned.reports
    ]
    assert len(there["t0000"]["history"]) == len(run.trials["t0000"].reports)
    assert there["t0000"]["summary"]["outcome"] == run.trials["t0000"].status


def test_wandb_without_a_key_or_a_server_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.outputs.loggers import wandb_runs

    monkeypatch.setattr(wandb_runs.WandbRuns, "patience", 600.0)
    monkeypatch.setattr(wandb_runs, "INIT_SECONDS", 1.0)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with silent_server() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        folder = simulated(tmp_path / "run", spec({"kind": "wandb"}, budget={"trials": 2, "epochs": 2}))
        _, said = logged(folder)
        assert len(said) == 2
        assert "No API key configured" in said[0]
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        _, said = logged(folder)
        assert "W&B: does not have all of the run: t0000, t0001 are missing" in said[-1]
        assert not (folder / "wandb" / "sent.jsonl").exists()


class OfWandb:
    """`wandb` with a server that takes in all: what goes there is written to files, as offline."""

    def __init__(self, wandb: Any) -> None:
        self.wandb, self.begun = wandb, list[str]()
        self.refused: set[str] = set()
        self.cut_off = False
        """Whether W&B does not take in in time what is left of a run at its end."""

    def init(self, **given: Any) -> Any:
        if given["name"] in self.refused:
            raise OSError("the server does not take it")
        self.begun.append(given["name"])
        made = self.wandb.init(**{**given, "mode": "offline"})
        assert given["settings"].finish_timeout_raises
        if self.cut_off:
            end = made.finish
            made.finish = lambda **how: end(**how) or self.fail()
        return made

    def fail(self) -> None:
        raise TimeoutError("it is not all there yet")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wandb, name)


def test_wandb_is_not_sent_again_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.outputs.loggers import wandb_runs

    there = OfWandb(wandb_runs.wandb)
    monkeypatch.setattr(wandb_runs, "wandb", there)
    whole = list(read(simulated(tmp_path / "all", spec({"kind": "wandb"}))))
    folder = written(tmp_path / "run", whole[: 2 * len(whole) // 3])
    partly = replay(list(read(folder)))
    assert partly.best is not None
    bad = next(name for name in partly.trials if name != partly.best.trial)
    there.refused = {bad}
    before, said = logged(folder)
    assert said[0] == f"W&B: cannot take {bad}: the server does not take it"
    assert said[1].startswith(f"W&B: does not have all of the run: {bad} is missing. Send it with: ")
    assert sorted(there.begun) == sorted([*(before.trials.keys() - {bad}), partly.best.trial])  # again, for its tag
    there.begun, there.refused = [], set()
    whole = [*read(folder), *whole[2 * len(whole) // 3 :]]
    run, said = logged(folder, whole)
    assert not said
    assert run.best is not None
    new = {name for name, trial in run.trials.items() if name == bad or stand(trial) != stand(before.trials.get(name))}
    assert bad in new < run.trials.keys()
    tagged = {run.best.trial, partly.best.trial} if run.best.trial != partly.best.trial else set()
    assert set(there.begun) == new | tagged
    there.begun = []
    assert logged(folder, whole)[1] == there.begun == []
    points = [
        values(record.history.item)
        for file in (folder / "wandb").glob("offline-run-*/*.wandb")
        for record in wandb_records(file)
        if record.WhichOneof("record_type") == "history"
    ]
    assert len(points) == sum(len(trial.reports) for trial in run.trials.values())  # each report once


def test_what_wandb_has_not_taken_in_whole_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.outputs.loggers import wandb_runs

    there = OfWandb(wandb_runs.wandb)
    monkeypatch.setattr(wandb_runs, "wandb", there)
    folder = simulated(tmp_path / "run", spec({"kind": "wandb"}, budget={"trials": 1, "epochs": 2}))
    there.cut_off = True
    assert logged(folder)[1][0].endswith(": it is not all there yet")
    there.begun, there.cut_off = [], False
    assert not logged(folder)[1]
    assert "t0000" in there.begun
    assert wandb_runs.WandbRuns.patience > max(wandb_runs.INIT_SECONDS, wandb_runs.FINISH_SECONDS)


def stand(trial: TrialState | None) -> Any:
    return trial and (len(trial.reports), trial.outcome)
