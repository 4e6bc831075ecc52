"""docs/spec.md and the JSON schema are what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.spec import document
from tuner.spec.experiment import Experiment
from tuner.spec.keys import DISTS, KINDS, LOGGERS, SECTIONS
from tuner.spec.model import Model


def test_the_reference_is_fresh() -> None:
    assert (document.DOCS / "spec.md").read_text(encoding="utf-8") == document.reference()


def test_the_schema_is_fresh() -> None:
    assert (document.DOCS / "experiment.schema.json").read_text(encoding="utf-8") == document.schema_text()


@pytest.mark.parametrize(("page", "model"), list(document.pages()), ids=lambda what: getattr(what, "stem", ""))
def test_the_keys_on_the_page_of_a_kind_are_fresh(page: Path, model: type[Model]) -> None:
    text = page.read_text(encoding="utf-8")
    assert document.filled(text, model) == text


def test_every_key_is_explained() -> None:
    models = [
        Experiment,
        *SECTIONS.values(),
        *DISTS.values(),
        *LOGGERS.values(),
        *(m for kinds in KINDS.values() for m in kinds.values()),
    ]
    for model in models:
        for key, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{key}"
