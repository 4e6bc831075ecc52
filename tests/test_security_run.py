"""SECURITY.md, claim by claim: what a stranger's run folder can do where it is looked at."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from outputs.runs_made import by_hand, experiment, failed, reported, simulated, suggested, written
from strangers import Runs, alone, strangers  # noqa: F401 - each test works alone

import tuner
from tuner.cli import main
from tuner.core.records import Clone, Decision, Header, Lost, Record, Repeated, Report, Suggested
from tuner.core.search.kinds import KINDS
from tuner.core.search.study import StudySearcher
from tuner.errors import UserError
from tuner.ledger import read
from tuner.outputs.page import compare, page
from tuner.outputs.page.history import History
from tuner.storage.transfer import get_folder

EVIL = "\"'`></script></style></pre><x-evil onclick=alert(1)>&\x1b[31m\x07"

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
