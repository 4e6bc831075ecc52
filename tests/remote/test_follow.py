"""Following a job's log: what is cut is read again, to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tuner.remote import follow as followed
from tuner.remote.follow import follow
from tuner.remote.jobs import Jobs


class Head:
    """A dashboard whose answers are cut: each list of texts is what one connection gives before it breaks."""

    def __init__(self, *answers: list[str], status: str = "SUCCEEDED") -> None:
        self.answers, self.status, self.client, self.address = list(answers), status, self, "http://head"

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        texts = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        for text in texts:
            if text == "cut":
                raise RuntimeError("the connection was cut")
            yield text

    def info(self, job: str) -> Any:
        return SimpleNamespace(status=self.status, driver_exit_code=0, message="")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(10_000))
    monkeypatch.setattr(followed, "time", SimpleNamespace(sleep=lambda s: None, monotonic=lambda: next(moments)))


def said(head: Head) -> str:
    texts: list[str] = []
    assert follow(cast(Jobs, head), "job", texts.append) == 0
    return "".join(texts)


def test_a_log_that_is_cut_when_its_job_ends_is_read_to_its_end() -> None:
    assert said(Head(["first\n", "cut"], ["first\n", "sec"], ["never"])) == "first\nsec\n", "its last line is ended"


def test_a_log_that_is_cut_again_and_again_is_given_up_when_its_job_is_over() -> None:
    assert said(Head(["first\n", "cut"])) == "first\n"
