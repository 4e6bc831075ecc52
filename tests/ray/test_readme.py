"""The README's commands, in their order, as a newcomer types them. CI runs the two of the set-up by themselves."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, environment

pytestmark = pytest.mark.ray
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / page).read_text())


def test_the_set_up_comes_first_and_is_two_lines() -> None:
    (_, first), (_, second) = blocks("README.md")[:2]
    assert first.endswith("python launch.py --space resnet.yaml\n")
    assert second.endswith("pytest\n")
    for line in (first, second):
        assert line.count("\n") == 1
        assert "-c constraints.txt" in line
        assert "python3 -m venv" in line


def test_its_commands_run_in_their_order(tmp_path: Path) -> None:
    env = {**environment(), "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = 0
    for language, text in blocks("README.md")[2:]:
        name = re.match(r"# (\w+\.(?:py|yaml))", text)
        if name:
            (tmp_path / name[1]).write_text(text)
        elif language == "python":
            subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=env, check=True, timeout=300)
            ran += 1
        elif language == "sh":
            for line in text.splitlines():
                command = [str(ROOT / word) if word == "launch.py" else word for word in shlex.split(line)]
                subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=300)
                ran += 1
    assert ran == 11
    best = tmp_path / "runs" / "from-python" / "best"
    for name in ("model.pt", "model.safetensors", "README.md"):
        assert (best / name).exists()
