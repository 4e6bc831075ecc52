"""Whom the kernel has killed for lack of memory, by what it says of cgroups of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.slot import memory

FIRST = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
SECOND = "low 0\nhigh 0\nmax 7\noom 5\noom_kill {}\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("mine", "files", "kills"),
    [
        ("0::/user.slice/a.scope", {"cgroup/user.slice/a.scope/memory.events": SECOND.format(2)}, 2),
        ("0::/user.slice/a.scope", {"cgroup/user.slice/memory.events": SECOND.format(3)}, 3),
        ("0::/", {"cgroup/memory.events": SECOND.format(4)}, 4),
        ("0::/", {}, 9),
        ("1:cpu:/a\n4:memory:/a/b\n0::/", {"cgroup/memory/a/b/memory.oom_control": FIRST.format(2)}, 2),
        ("4:cpu,memory:/docker/a", {"cgroup/memory/memory.oom_control": FIRST.format(3)}, 3),
        ("4:memory:/a", {"cgroup/memory/a/memory.oom_control": "under_oom 0\n"}, 9),
        ("4:memory:/a/b", {"cgroup/memory/a/memory.oom_control": FIRST.format(1)}, 9),
        ("odd", {}, 9),
        (None, {}, 9),
    ],
)
def test_the_kills_of_the_closest_group_are_counted_else_all_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: str | None, files: dict[str, str], kills: int
) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "cgroup")
    texts = {"proc/vmstat": "nr_free_pages 5\noom_kill 9\n", **files}
    for name, text in {**texts, **({} if mine is None else {"proc/self/cgroup": f"{mine}\n"})}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.kernel_kills() == kills


def test_where_the_kernel_says_nothing_none_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert memory.kernel_kills() == 0
