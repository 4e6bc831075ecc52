"""What is asked of every machine of a cluster before a run begins, and by `--check`."""

from __future__ import annotations

from pathlib import Path

from hosts import STEADY, Driver, two_nodes

from tuner.engine import survey
from tuner.engine.machines import Node

FAILS_THERE = """
import os, ray

def warm_up(sleep):
    raise FileNotFoundError("fashion.idx is not there. Download it.")

def train(trial, *, lr, sleep=0.1):
    trial.report(loss=lr)
"""


def check(cluster, folder: Path, code: int) -> str:
    flags = ("--space", "mine.yaml", "--check", "--address", cluster.address)
    with Driver(folder, flags) as driver:
        return driver.ends(code, alone=False)


def test_every_machine_is_asked_by_a_check(write, tmp_path: Path, monkeypatch) -> None:
    write(STEADY)
    with two_nodes(monkeypatch) as (cluster, _):
        said = check(cluster, tmp_path, 0)
        assert said.count("1 CPUs, 0 GPUs, in order: versions, trainable, data, storage") == 2, said
        assert not (tmp_path / "runs").exists()
        write(FAILS_THERE, fixed={"sleep": 0.1})
        said = check(cluster, tmp_path, 3)
        assert said.count("NOT in order") == 2
        assert said.count("FileNotFoundError: fashion.idx is not there. Download it.") == 2, said


def test_what_a_machine_lacks_is_said_with_its_fix(tmp_path: Path, monkeypatch) -> None:
    import ray

    with two_nodes(monkeypatch) as (cluster, _):
        ray.init(cluster.address)
        try:
            nodes = [Node(1, name=node["NodeID"], address=node["NodeID"][:4]) for node in ray.nodes()]
            assert survey.survey(nodes, tmp_path / "shared") == {node.name: [] for node in nodes}
            assert not (tmp_path / "shared").exists(), "nothing is left"
            assert survey.survey(nodes, f"file://{tmp_path}/objects") == {node.name: [] for node in nodes}
            found = survey.survey(nodes, "file:///proc/no/such/place")
            assert all("must be a URL that can be written" in one for (one,) in found.values()) and len(found) == 2
            # The folder of another machine is another one: a mark that is made here is not seen there.
            monkeypatch.setattr(Path, "touch", lambda self: None)
            found = survey.survey(nodes[:1], tmp_path / "apart")
            assert "must be a folder that all machines share, but is not the same there" in found[nodes[0].name][0]
            monkeypatch.undo()
            died = Node(1, name="e" * 56, address="gone")
            assert survey.survey([nodes[0], died], tmp_path) == {nodes[0].name: []}
            monkeypatch.setattr(survey, "_answer", lambda *asked: int("no such package"))
            found = survey.survey(nodes[:1], tmp_path)
            assert "cannot run this project (ValueError: invalid" in found[nodes[0].name][0]
            monkeypatch.undo()
            here = survey.versions()
            monkeypatch.setattr(survey, "versions", lambda: {**here, "torch": "9.9"})
            found = survey.survey(nodes[:1], tmp_path)[nodes[0].name]
            lacks = f"has torch {here['torch']}, not 9.9. Install from the same constraints."
            assert found == [f"{nodes[0].address}: {lacks}"]
            monkeypatch.undo()
            monkeypatch.setattr(survey, "_theirs", lambda mark, name: mark.with_name("another"))
            found = survey.survey(nodes[:1], tmp_path)[nodes[0].name]
            assert len(found) == 1 and "is not the same there" in found[0], "what is made there is not seen here"
            (tmp_path / "file").touch()
            found = survey.survey(nodes, tmp_path / "file" / "below")
            assert all("cannot be made or written here (Not a directory)" in one for (one,) in found.values())
        finally:
            ray.shutdown()
