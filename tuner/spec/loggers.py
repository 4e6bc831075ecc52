"""Where else a run is told of, beside the files that are always written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from tuner.spec.model import Broken, Model, SpecProblems


class Csv(Model):
    """One file, `curves.csv`, with a line for each value that was reported."""

    kind: Literal["csv"]
    """Which logger."""


class Wandb(Model):
    """Weights & Biases: a run for each trial, in one group. Needs the extra `wandb`."""

    kind: Literal["wandb"]
    """Which logger."""
    project: str = Field(default="tuner", min_length=1)
    """The project that the runs belong to."""
    entity: str | None = Field(default=None, min_length=1)
    """The user or team; whose key it is by default."""
    mode: Literal["online", "offline"] = "online"
    """Offline the runs are kept in the run's folder, for `wandb sync`."""


class Mlflow(Model):
    """MLflow: a run for each trial, below one for all of them. Needs the extra `mlflow`."""

    kind: Literal["mlflow"]
    """Which logger."""
    uri: str | None = Field(default=None, min_length=1)
    """The server's address, or any other tracking URI; by default what `MLFLOW_TRACKING_URI` says."""
    experiment: str = Field(default="tuner", min_length=1)
    """The experiment that the runs belong to; made where there is none."""


SomeLogger = Csv | Wandb | Mlflow
PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}
"""The module that a kind needs; the extra of `tuner` that brings it has the same name as the kind."""


def _with_kinds(value: Any) -> Any:
    """Let `csv` mean `{kind: csv}`."""
    return (
        [{"kind": entry} if isinstance(entry, str) else entry for entry in value] if isinstance(value, list) else value
    )


def _once(loggers: list[SomeLogger]) -> list[SomeLogger]:
    seen: set[str] = set()
    twice = []
    for i, logger in enumerate(loggers):
        if logger.kind in seen:
            twice.append((i, logger.kind))
        seen.add(logger.kind)
    if twice:
        raise SpecProblems(Broken((i,), f"must be given once, but got {kind} again", "Remove it.") for i, kind in twice)
    return loggers


_Mapping = Annotated[SomeLogger, Field(discriminator="kind")]
_Written = list[Literal["csv", "wandb", "mlflow"] | _Mapping]
AnyLoggers = Annotated[
    list[_Mapping], BeforeValidator(_with_kinds, json_schema_input_type=_Written), AfterValidator(_once)
]


def not_installed(loggers: Sequence[SomeLogger]) -> Iterator[Broken]:
    """Yield the loggers whose package is not installed here."""
    for i, logger in enumerate(loggers):
        module = PACKAGES.get(logger.kind)
        if module and not _is_installed(module):
            what = f"must be a logger that is installed, but got {logger.kind}, and no module named {module}"
            yield Broken(
                ("loggers", i), what, f"Run pip install -c constraints.txt -e '.[{logger.kind}]' in tuner's folder."
            )


def _is_installed(module: str) -> bool:
    """Tell whether there is a module; a mere folder of that name, which W&B leaves where it ran, is none."""
    found = find_spec(module)
    return found is not None and found.origin is not None
