"""SECURITY.md, claim by claim: what a stranger's YAML, checkpoint or run folder can do, and where secrets go."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from outputs.runs_made import by_hand, experiment, failed, reported, simulated, suggested, written
from support import ROOT

import tuner
from tuner.cli import main
from tuner.core.records import Clone, Decision, Header, Lost, Record, Repeated, Report, Suggested
from tuner.core.search.kinds import KINDS
from tuner.core.search.study import StudySearcher
from tuner.errors import UserError
from tuner.ledger import read
from tuner.outputs.page import compare, page
from tuner.outputs.page.history import History
from tuner.storage import write_whole
from tuner.storage.transfer import get_folder
from tuner.trial import checkpoint

RAN = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
TRAIN = RAN + "def train(trial, *, x):\n    for _ in trial.epochs(): trial.report(score=x)\n"
EVIL = "\"'`></script></style></pre><x-evil onclick=alert(1)>&\x1b[31m\x07"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder of the test's own, and forget what was imported from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("stranger", "package", "package.inner"):
        sys.modules.pop(name, None)


class Runs:
    """What runs a function where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def strangers(folder: Path) -> tuple[Path, Path]:
    """Write modules that leave a file where they are imported; returns these files."""
    (folder / "package").mkdir(parents=True)
    (folder / "stranger.py").write_text(TRAIN)
    (folder / "package" / "__init__.py").write_text(RAN)
    (folder / "package" / "inner.py").write_text(RAN + "def measure(trial, **params): return {}\n")
    return folder / "ran", folder / "package" / "ran"


# ---------------------------------------------------------------------- a YAML


def test_check_imports_no_code_of_the_yaml(tmp_path: Path) -> None:
    marks = strangers(tmp_path)
    (tmp_path / "stranger.yaml").write_text(
        "trainable: stranger:train\ntest: package.inner:measure\nobjective: {metric: score, mode: max}\n"
        "budget: {trials: 2, epochs: 1}\nspace: {x: {dist: float, low: 0, high: 1}}\n"
    )
    assert main(["--space", "stranger.yaml", "--check"]) == 0
    assert not any(mark.exists() for mark in marks)
    assert main(["--space", "stranger.yaml", "--local"]) == 0
    assert marks[0].exists(), "to run it is to run its code"


def test_a_yaml_makes_no_objects_and_cannot_blow_up(tmp_path: Path) -> None:
    bomb = "\n".join(f"a{i}: &a{i} [{', '.join(['*a' + str(i - 1)] * 9 if i else ['x'])}]" for i in range(9))
    for text in ("fixed: !!python/object/apply:os.mkdir [ran]", bomb):
        (tmp_path / "stranger.yaml").write_text(text)
        with pytest.raises(UserError, match=r"YAML without tags|must hold at most 10,000 values"):
            tuner.load(tmp_path / "stranger.yaml")
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------------- a checkpoint


def pickled(path: Path, mark: Path) -> dict[str, int]:
    """Write weights that run a function where they are unpickled; returns what a manifest says of the file."""
    torch.save({"weight": Runs(mark)}, path)
    return checkpoint.file_facts(path)


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    folder, mark = tmp_path / "checkpoint", tmp_path / "ran"
    folder.mkdir()
    facts = pickled(folder / "model.pt", mark)
    (folder / "manifest.json").write_text(json.dumps({"files": {"model.pt": facts}}))
    checkpoint.read_manifest(folder)
    with pytest.raises(UserError, match="must hold tensors, numbers, strings"):
        checkpoint.load(folder, "model")
    assert not mark.exists()
    torch.load(folder / "model.pt", weights_only=False)
    assert mark.exists(), "as it would where it is unpickled"


@pytest.mark.parametrize("name", ["../secret.pt", "/etc/hostname", "files/../../secret.pt"])
def test_a_manifest_names_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "files").mkdir(parents=True)
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (folder / "manifest.json").write_text(json.dumps({"files": {name: checkpoint.file_facts(folder / name)}}))
    with pytest.raises(checkpoint.Invalid, match="must hold all its files itself"):
        checkpoint.read_manifest(folder)


def best(folder: Path, file: str, facts: dict[str, int]) -> Path:
    """Write a `best/` whose only model lies in a file."""
    known = {
        "version": 1, "trainable": "stranger:train", "home": str(folder), "trial": "t0000", "params": {}, "seed": 0,
        "metric": "score", "epochs": 1, "precision": "fp32",
        "tracked": {"model": {"kind": "module", "file": file, **facts}},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(known))
    return folder


def mine(trial: tuner.Trial) -> None:
    trial.track(model=torch.nn.Linear(1, 1))


def test_load_best_with_a_function_of_ones_own_runs_nothing_else(tmp_path: Path) -> None:
    ran, _ = strangers(tmp_path)
    mark = tmp_path / "unpickled"
    folder = best(tmp_path, "model.pt", pickled(tmp_path / "model.pt", mark))
    with pytest.raises(UserError, match="must hold tensors, numbers, strings"):
        tuner.load_best(folder, trainable=mine)
    assert not ran.exists() and not mark.exists()
    with pytest.raises(Exception, match="missing 1 required keyword-only argument"):
        tuner.load_best(folder)
    assert ran.exists(), "without it the function that the folder names is imported"


def test_load_best_reads_from_its_folder_alone(tmp_path: Path) -> None:
    (home := tmp_path / "best").mkdir()
    torch.save(torch.nn.Linear(1, 1).state_dict(), tmp_path / "secret.pt")
    facts = checkpoint.file_facts(tmp_path / "secret.pt")
    with pytest.raises(UserError, match="must be as it was written"):
        tuner.load_best(best(home, "../secret.pt", facts), trainable=mine)


# ---------------------------------------------------------------------- a run's folder

CLONE = Clone(donor="t0001", epoch=1, checkpoint="trials/t0001/checkpoints/g0", params={}, choices={})
OUTSIDE: list[Record] = [
    replace(suggested("t0001"), trial="../../t0001"),
    Repeated(trial="t0000-s1/..", of="t0000", seed=1, params={}, choices={}),
    Repeated(trial="t0000-s1", of="/t0000", seed=1, params={}, choices={}),
    replace(reported("t0000", 1, score=1.0), checkpoint="../.."),
    replace(reported("t0000", 1, score=1.0), checkpoint="trials/t0000/checkpoints/.."),
    replace(reported("t0000", 1, score=1.0), checkpoint="/home"),
    replace(reported("t0000", 1, score=1.0), decision=Decision(action="clone", clone=replace(CLONE, donor=".."))),
    replace(reported("t0000", 1, score=1.0), decision=Decision(action="clone", clone=replace(CLONE, checkpoint="~"))),
]


@pytest.mark.parametrize("record", OUTSIDE, ids=lambda record: record.kind)
def test_a_ledger_names_nothing_outside_of_its_run(tmp_path: Path, record: Record) -> None:
    folder = written(tmp_path / "run", by_hand(experiment(), suggested("t0000", x=0.5), record))
    for flags in (["--report", str(folder)], ["--why", f"{folder}/t0000"], ["--resume", str(folder), "--check"]):
        assert main(flags) == 2
    with pytest.raises(UserError, match="does not lie in the run's folder"):
        read(folder)


def test_a_run_has_a_plain_name(tmp_path: Path) -> None:
    from tuner.ledger import Ledger

    with Ledger(tmp_path) as ledger:
        ledger.append(replace(by_hand(experiment())[0], name="../other"))
    with pytest.raises(UserError, match="does not lie in the run's folder"):
        read(tmp_path)


def test_to_look_at_a_run_imports_none_of_its_code(tmp_path: Path) -> None:
    (there := tmp_path / "there").mkdir()
    ran, _ = strangers(there)
    spec = experiment(trainable="stranger:train", budget={"trials": 3, "epochs": 3})
    folder = str(simulated(there / "run", spec))
    assert main(["--report", folder]) == 0
    assert main(["--why", f"{folder}/t0000"]) == 0
    assert main(["--replay", folder, "--set", "scheduler.kind=asha"]) == 0
    assert main(["--resume", folder, "--check"]) == 0
    assert len(tuner.Result(Path(folder)).table()) == 3
    assert not ran.exists()


def test_the_state_of_cmaes_in_a_ledger_runs_nothing(tmp_path: Path) -> None:
    space = {name: {"dist": "float", "low": 0.0, "high": 1.0} for name in "xy"}
    spec = experiment(space=space, search={"kind": "cmaes"}, budget={"trials": 14, "epochs": 1})
    records = read(simulated(tmp_path / "good", spec))

    def goes_on(records: list[Record]) -> None:
        searcher = StudySearcher(spec, KINDS["cmaes"][0])
        for record in records:
            searcher.observe(record)
        searcher.suggest(14)

    goes_on(records)
    state = {"cma:optimizer:0": pickle.dumps(Runs(tmp_path / "ran")).hex()}
    evil = [replace(one, attributes=state) if isinstance(one, Suggested) and one.attributes else one for one in records]
    with pytest.raises(UserError, match="must hold numbers alone"):
        goes_on(evil)
    assert not (tmp_path / "ran").exists()


def evil_run(folder: Path) -> Path:
    """Write a run in which every text that a stranger may choose holds tags, quotes and what colours a terminal."""
    spec = experiment(
        objective={"metric": EVIL, "mode": "min"}, fixed={"a": [EVIL]}, trainable=EVIL,
        budget={"trials": 12, "epochs": 2}, constraints={f"limit {EVIL}": "<= 5"}, test=EVIL, storage=EVIL,
        space={"x": {"dist": "float", "low": 0, "high": 1}, "kind": {"dist": "choice", "values": [EVIL, [EVIL]]}},
    )  # fmt: skip
    records: list[Record] = []
    for i in range(12):
        name = f"t{i:04}"
        params = {"x": i / 12, "kind": [EVIL, [EVIL]][i % 2]}
        report = reported(name, 1, **{EVIL: float(i), f"limit {EVIL}": 1.0, f"other {EVIL}": 2.0})
        texts = {one.name: EVIL for one in fields(Report) if one.name in ("node", "worker")}
        records += [
            replace(suggested(name, **params), choices={"kind": i % 2}),
            replace(report, seconds=1.0, memory=2**20, **texts),
            Lost(trial=name, cause="worker", reason=EVIL),
            failed(name, f"{EVIL}: {EVIL}", f"Traceback\n{EVIL}\n\t{EVIL}"),
        ]
    head, session, *rest = by_hand(spec, *records)
    assert isinstance(head, Header)
    session = replace(session, host=EVIL, versions={EVIL: EVIL, "rule none": EVIL})
    return written(folder, [replace(head, folder=EVIL), session, *rest])


class Tags(HTMLParser):
    """Counts the tags of a page as a browser would."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}


def test_a_page_holds_no_tag_that_a_run_has_brought(tmp_path: Path) -> None:
    runs = [History(evil_run(tmp_path / name)) for name in ("a", "b")]
    for text in (page.page(runs[0]), compare.page(runs)):
        assert "could not be made" not in text
        found = Tags(text)
        assert "x-evil" not in found.tags and "onclick" not in found.attributes
        assert found.tags["script"] == text.count('<script type="application/json">') + 2, "its own, and the figures"
        assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in text
    assert Tags(f"<p>{EVIL}").tags == {"p": 1, "x-evil": 1}


def test_a_run_cannot_move_the_cursor_or_colour_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(evil_run(tmp_path / "run"))
    assert main(["--report", folder]) == 0
    assert main(["--why", f"{folder}/t0000"]) == 0
    said = capsys.readouterr().out
    assert "x-evil" in said and "Traceback" in said
    assert not [letter for letter in said if not letter.isprintable() and letter != "\n"]


class Elsewhere:
    """A folder at a URL in which somebody has put a file under such a name."""

    url = "s3://bucket"

    def list(self, below: str) -> dict[str, int]:
        return {"best/manifest.json": 1, "best/../../escaped": 1}


def test_a_folder_at_a_url_writes_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="its name leads out of the folder"):
        get_folder(Elsewhere(), "best", tmp_path / "best", "manifest.json")  # type: ignore[arg-type]


# ---------------------------------------------------------------------- secrets


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


def test_only_the_user_may_read_the_token(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.engine.token import keep_private

    keep_private()
    made = token.read_text()
    assert len(made) == 64
    token.chmod(0o644)
    keep_private()
    assert (token.read_text(), token.stat().st_mode & 0o777) == (made, 0o600)
    assert list(token.parent.iterdir()) == [token]


@pytest.mark.parametrize("given", [("RAY_AUTH_TOKEN", "b" * 64), ("RAY_AUTH_MODE", "disabled")])
def test_no_token_is_made_where_ray_would_make_none(
    token: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, str]
) -> None:
    from tuner.engine.token import keep_private

    monkeypatch.setenv(*given)
    keep_private()
    assert not token.exists()


def test_files_have_the_rights_that_the_user_gives(tmp_path: Path) -> None:
    for mask, rights in ((0o077, 0o600), (0o022, 0o644)):
        before = os.umask(mask)
        try:
            write_whole(tmp_path / "file", b"x")
        finally:
            os.umask(before)
        assert (tmp_path / "file").stat().st_mode & 0o777 == rights


# ---------------------------------------------------------------------- the page


def test_each_claim_names_a_test_that_there_is() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"
    here = {test for file, test in named if file == "tests/test_security.py"}
    ours = {name for name in globals() if name.startswith("test_")} - {"test_each_claim_names_a_test_that_there_is"}
    assert here == ours, "and each test here holds a claim"
