"""The benchmark of scaling, with very little: every figure is there, and of the right kind."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support import ROOT, environment

pytestmark = pytest.mark.slow


def test_it_measures_nodes_and_live_trials() -> None:
    words = [sys.executable, str(ROOT / "benchmarks" / "scaling.py"), "--quick"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    (turn,) = told["nodes"]["rounds"]
    assert [(one["nodes"], one["reports"]) for one in turn] == [(2, 12)]
    assert all(one["rate"] > 0 and one["first_report"] > 0 and one["cpu_a_report"] > 0 for one in turn)
    found = told["live"]["found"]
    assert [one["live"] for one in found] == [2]
    assert all(one["reports_a_second"] > 0 and one["share"] >= one["share_main_thread"] > 0 for one in found)
    assert all({"worker", "zygote", "trial"} == one["memory"].keys() for one in found)
