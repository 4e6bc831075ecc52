"""Every bad file has its errors word for word beside it; TUNER_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuner.errors import UserError
from tuner.spec.load import load

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))
JARGON = ("pydantic", "Input should", "https://", "Traceback", "union", "discriminator", "NoneType")


def errors(file: Path) -> str:
    """Load a bad file, with the `--set`s named in its first comments, and return what the user reads."""
    text = file.read_bytes().decode("utf-8", errors="replace")
    overrides = [line.removeprefix("# --set ") for line in text.splitlines() if line.startswith("# --set ")]
    with pytest.raises(UserError) as raised:
        load(file.name, overrides)
    assert raised.value.exit_code == 2
    return str(raised.value).replace(str(HERE), "TESTS") + "\n"


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_file_gives_its_errors_word_for_word(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    golden = file.with_suffix(".txt")
    text = errors(file)
    if os.environ.get("TUNER_UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_every_error_says_where_what_and_how_to_fix_it(file: Path) -> None:
    for line in file.with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith((f"{file.name}:", "--set ")), line
        assert "must " in line and ", but got " in line and line.endswith((".", "?")), line
        assert not any(word in line for word in JARGON), line


def test_there_are_enough_of_them_and_none_is_left_over() -> None:
    assert len(BAD) >= 30
    assert {file.stem for file in BAD} == {file.stem for file in (HERE / "bad").glob("*.txt")}
