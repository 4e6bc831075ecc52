"""How the tests follow a page: as it stands where no Ray is started, else shorter, or by one trial."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from pages import Block
from support import ROOT, environment

from tuner import cli
from tuner.api import load

SHORTER = {
    "resnet.yaml": ["budget.trials=4", "budget.epochs=3"],
    "pipeline.yaml": ["budget.epochs=1", "scheduler.grace_epochs=1"],
    "fit_lightning.yaml": ["budget.epochs=1"],
    "fit_trainer.yaml": ["budget.epochs=1"],
    "fit_optuna.yaml": ["budget.epochs=1"],
}
"""What is set in the tests alone, by the experiment: CONTRIBUTING.md says so."""

BASE = yaml.safe_load((ROOT / "search_spaces" / "debug.yaml").read_text())
BEGINS = re.compile(r"\btuner\.(run|resume)\(")
OURS = ("python launch.py ", "tuner ")
"""The two names of the command."""
SCRIPT = re.compile(r"python (?!launch\.py)([\w/]+\.py)")


class Reader:
    """Follows the blocks of a page, in a folder that is the current one.

    With `real` runs are real, on a Ray of their own; otherwise what begins one trains its first trial, by `--local`.
    """

    def __init__(self, folder: Path, real: bool = False) -> None:
        self.folder, self.real = folder, real
        self.ran: list[str] = []
        self.printed = ""
        """What the last block of commands has said."""

    def follow(self, blocks: list[Block]) -> None:
        """Do what a reader does with each."""
        for block in blocks:
            if block.file:
                self._write(block)
            if block.printed:
                self._compare(block)
            elif block.language == "yaml" and not block.file:
                load({**BASE, **yaml.safe_load(block.text)})  # a part of an experiment, whose other parts are these
            elif block.language == "sh":
                self.printed = "".join(self._command(line, block.code) for line in block.lines)
            elif block.language == "python" and not block.file:
                self.printed = self._python(block)

    def _write(self, block: Block) -> None:
        path = self.folder / str(block.file)
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)
        if block.language == "yaml":
            load(path)

    def _compare(self, block: Block) -> None:
        lines = [line.rstrip() for line in self.printed.strip().splitlines()]
        if any(line.startswith("trials at once") for line in lines) and os.cpu_count() != 2:
            return  # the pages show what two cores would do
        said = lines[-1:] if block.printed == "last" else lines
        assert said == block.text.rstrip().splitlines(), f"{block}: {self.printed}"

    def _command(self, line: str, code: int) -> str:
        self.ran.append(line)
        if script := SCRIPT.fullmatch(line):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                runpy.run_path(script[1], run_name="__main__")
            return printed.getvalue()
        ours = next((name for name in OURS if line.startswith(name) and " & " not in line), None)
        if ours is None:
            return self._shell(line, code)
        flags = shlex.split(line.removeprefix(ours))
        begins = "--space" in flags and not {"--check", "--local"} & set(flags)
        goes_on = "--resume" in flags and "--check" not in flags
        if "--space" in flags:
            flags += [part for value in SHORTER.get(flags[1], ()) for part in ("--set", value)]
        if goes_on or (begins and self.real):
            return self._shell(shlex.join([sys.executable, str(ROOT / "launch.py"), *flags, "--no-dashboard"]), code)
        return self._here([*_without(flags, "--name"), "--local"] if begins else flags, code)

    def _python(self, block: Block) -> str:
        """Run lines of Python: in a process of their own where they begin a run."""
        if BEGINS.search(block.text):
            return self._shell(shlex.join([sys.executable, "-c", block.text]), block.code)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
        return said.getvalue()

    def _here(self, flags: list[str], code: int) -> str:
        """Run the command in this process: starting one takes longer than most of them."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            ended = cli.main(flags)
        assert ended == code, f"{shlex.join(flags)}\n{said.getvalue()}"
        return said.getvalue()

    def _shell(self, line: str, code: int) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**environment(), "PYTHONPATH": str(ROOT), "PATH": path}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=self.folder, env=env, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


def _without(flags: list[str], option: str) -> list[str]:
    if option not in flags:
        return flags
    at = flags.index(option)
    return flags[:at] + flags[at + 2 :]
