"""What TensorBoard takes with a run of 200 trials: to write its events, to serve them, and to show them in a browser.

python -m benchmarks.boards                    # figures go to raw/boards.json
python -m benchmarks.boards --pictures FOLDER  # and pictures of the pages there

The run is simulated (ASHA, 81 epochs, five metrics, a histogram each 27 epochs); the server and Chromium are real.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python benchmarks/boards.py` works too
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import psutil
from browser import Browser, chromium
from support import free_ports, wait_for

from benchmarks import machine
from tuner.core.records import Report
from tuner.core.state import RunState
from tuner.outputs.tensorboard import TensorBoard
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.trial import media

KEPT = Path(__file__).parent / "raw" / "boards.json"
TRIALS, EPOCHS = 200, 81
SPEC: dict[str, Any] = {
    "trainable": "train:train",
    "objective": {"metric": "val/accuracy", "mode": "max"},
    "budget": {"trials": TRIALS, "epochs": EPOCHS},
    "space": {
        "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
        "momentum": {"dist": "float", "low": 0.8, "high": 0.99},
        "width": {"dist": "choice", "values": [8, 16, 32]},
        "optimizer": {"dist": "choice", "values": ["sgd", "adam"]},
    },
    "search": {"kind": "random"},
    "scheduler": {"kind": "asha"},
}
TEXT = """
const text = (node) => (node.shadowRoot ? text(node.shadowRoot) : '') +
  [...node.childNodes].map((n) => n.nodeType === 3 ? n.data : n.nodeType === 1 ? text(n) : '').join(' ');
return text(document.body);
"""
"""Reads what stands in shadow roots too."""


def curve(params: Mapping[str, Any], epoch: int) -> float:
    """Make up an accuracy."""
    return float((0.9 - 0.1 * abs(np.log10(params["lr"]) + 1.5)) * (1 - 0.7**epoch))


def write(folder: Path) -> dict[str, Any]:
    """Write the events as a driver does."""
    board, run, took = TensorBoard(folder), RunState(), 0.0
    for record in Simulation(Experiment.model_validate(SPEC), curve, 4).run():
        if isinstance(record, Report):
            value = record.metrics["val/accuracy"]
            more = {f"train/{name}": value * i for i, name in enumerate(("loss", "accuracy", "lr", "norm"), 1)}
            record.metrics.update(more)
            if record.epoch % 27 == 0:
                where = folder / "trials" / record.trial / "media"
                media.write(where, "weights", record.epoch, np.random.default_rng(0).normal(size=1000), histogram=True)
        run.apply(record)
        began = time.process_time()
        board.see(record, run)
        took += time.process_time() - began
    board.close(run)
    files = [path for path in (folder / "tensorboard").rglob("*") if path.is_file()]
    epochs = sum(len(trial.reports) for trial in run.trials.values())
    return {
        "trials": len(run.trials), "epochs": epochs, "driver_cpu_seconds": took, "files": len(files),
        "megabytes": sum(path.stat().st_size for path in files) / 1e6,
    }  # fmt: skip


def memory(server: int) -> float:
    """Add up what the server and its reader hold, in MiB."""
    family = [psutil.Process(server), *psutil.Process(server).children(recursive=True)]
    return sum(process.memory_info().rss for process in family) / 2**20


def seconds(until: Callable[[], Any]) -> float:
    """Wait for something; tells how long."""
    began = time.perf_counter()
    wait_for(until, 150)
    return time.perf_counter() - began


def answers(url: str) -> bool:
    """Tell whether the server answers."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def show(browser: Browser, url: str, server: int, pictures: bool) -> dict[str, Any]:
    """Open the pages, and wait until they show all trials, and all kinds of curves."""

    def text() -> str:
        return "".join(browser.driver.execute_script(TEXT).split())  # a tag is broken into pieces

    found: dict[str, Any] = {"memory_at_first_mib": memory(server)}
    for page, shown in (("hparams", f"sessiongroups:{TRIALS}"), ("timeseries", "train/norm")):
        browser.driver.get(f"{url}/#{page}")
        browser.driver.refresh()
        found[f"{page}_seconds"] = seconds(lambda shown=shown: shown in (now := text()) and "t0000" in now)
        found[f"memory_after_{page}_mib"] = memory(server)
        if pictures:
            time.sleep(3)
            browser.keep(f"tensorboard-{page}")
    return found


def main() -> None:
    """Measure, and keep the figures."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--pictures", type=Path)
    pictures = flags.parse_args().pictures
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = write(folder := Path(scratch) / "run")
        words = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder / "tensorboard"), "--port", str(port)]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with chromium(Path(scratch)) as browser:
                browser.pictures = pictures or browser.pictures
                found["first_page_seconds"] = seconds(lambda: answers(f"http://127.0.0.1:{port}"))
                found |= show(browser, f"http://127.0.0.1:{port}", server.pid, bool(pictures))
        finally:
            server.terminate()
            server.wait()
    print(json.dumps(found, indent=2))
    found["load"] = os.getloadavg()[1]
    KEPT.write_text(json.dumps({"machine": machine.facts(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
