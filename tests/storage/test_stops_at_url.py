"""Stops of a run that is stored at a URL: from outside, in the middle of a wait, and with a copy that is behind."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from core.experiments import experiment

from tuner import api
from tuner.engine.run import _connect, create
from tuner.errors import ClusterError, Interrupted, UserError
from tuner.ledger import read
from tuner.storage import lease
from tuner.storage.lease import Lease
from tuner.storage.url import Objects

from .mirrored import append, driving, fail, folder, objects

__all__ = ["folder", "objects"]


def test_a_stop_by_url_names_the_driver(objects: Objects, folder: Path) -> None:
    with driving(objects, folder) as (mirror, _):
        mirror.wait_until_put(lambda: False)
        holder = Lease(objects).holder()
        assert holder is not None
        with pytest.raises(
            UserError, match=f"Give it on {holder.host}, in the folder of process {holder.pid}"
        ) as caught:
            api.stop(objects.url)
        assert "--resume" not in str(caught.value)
    with pytest.raises(UserError, match="nobody drives this run"):
        api.stop(objects.url)


def test_a_stop_in_a_folder_that_was_left_names_the_driver_elsewhere(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "runs" / "objects", tmp_path / "another" / "objects"
    create(here, experiment(storage=f"file://{tmp_path}"), tmp_path)
    with driving(objects, here) as (mirror, _):
        mirror.wait_until_put(lambda: False)
    with driving(objects, there) as (mirror, _):
        with pytest.raises(UserError, match=f"driven no more. Give it on .*, in the folder of process {os.getpid()}"):
            api.stop(str(here))
        assert len(read(here)) == 1
    assert api.stop(str(here)) == "the run is stopped; nothing was running"


def test_a_driver_that_has_been_silent_for_long_stands_in_no_stop_s_way(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died with its machine, which is another one to this process since it was started again."""
    here = tmp_path / "runs" / "objects"
    create(here, experiment(storage=f"file://{tmp_path}"), tmp_path)
    monkeypatch.setattr(lease, "this_machine", lambda: "before it was started again")
    Lease(objects).take(lambda text: None)
    monkeypatch.undo()
    with pytest.raises(UserError, match="driven no more"):
        api.stop(str(here))
    monkeypatch.setattr(lease, "EXPIRED_SECONDS", -1.0)
    assert api.stop(str(here)) == "the run is stopped; nothing was running"


def test_a_run_that_waits_for_its_url_can_be_stopped(objects: Objects, folder: Path, monkeypatch) -> None:
    live = SimpleNamespace(over=False, error=None)
    live.tick = lambda: setattr(live, "over", True)  # as a stop by hand, or the end of budget.hours, makes it
    with pytest.raises(Interrupted), driving(objects, folder) as (mirror, ledger):  # noqa: PT012
        mirror.wait_until_put(lambda: False)
        with monkeypatch.context() as patch:
            patch.setattr(mirror._segments, "append", lambda data: fail())
            append(ledger, 1)
            _connect(live, mirror)
        assert live.over and live.error is None
        raise Interrupted("interrupted")


def test_who_has_to_leave_says_that_the_copy_is_behind(objects: Objects, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(api, "LEAVE_SECONDS", 0.1)
    told = io.StringIO()
    terminal = SimpleNamespace(err=told)
    show = SimpleNamespace(say=lambda text: None, __exit__=lambda: None)
    with pytest.raises(ClusterError), driving(objects, folder) as (mirror, ledger):  # noqa: PT012
        mirror.wait_until_put(lambda: False)
        monkeypatch.setattr(mirror._segments, "append", lambda data: fail())
        append(ledger, 1)
        api._leave(folder, terminal, show, Interrupted("interrupted"), api.Options(mirror=mirror))  # type: ignore[arg-type]
    assert f"cannot be written: the server is away. All is in {folder}" in told.getvalue()
