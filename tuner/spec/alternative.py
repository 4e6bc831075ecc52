"""What a replay may change of a run: its scheduler, and a smaller or otherwise ended budget; and what must stay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tuner.errors import Problem, UserError
from tuner.spec.experiment import Experiment
from tuner.spec.load import revised
from tuner.spec.words import shown
from tuner.spec.yaml_nodes import YamlError, parse

OTHERS = "the trials are those that were trained"
CURVES = "values and seconds are recorded as they were"
REASONS = {
    "search": "another one would have suggested params that nobody has trained",
    "space": OTHERS,
    "fixed": OTHERS,
    "start": OTHERS,
    "seed": OTHERS,
    "confirm": "repeats are no part of a replay",
}
"""Why a section must stay, where it is not for what is recorded of the trials."""
NEVER = {
    "pbt": "A clone trains on with its donor's weights and other params, and nobody has recorded that.",
    "auto": "It chooses new trials too, and others than these have no curves.",
}
"""Why there is no replay with a kind of scheduler."""


def alternative(old: Experiment, overrides: Sequence[str], recorded: int) -> Experiment:
    """Give the experiment with other settings of `scheduler` and `budget`, from `KEY=VALUE` texts.

    `recorded` is how many trials there are curves of. Raises UserError for all that cannot be replayed, and where
    nothing is changed.
    """
    if old.scheduler.kind == "pbt":
        what = "must be a run whose trials keep their params, but got one of scheduler.kind pbt"
        raise UserError(Problem("--replay", "", what, NEVER["pbt"]))
    overrides = spelled_out(old, overrides)
    kind = _kind(old, overrides)
    if refused := [*(problem for override in overrides for problem in _fixed(override)), *_never(kind)]:
        raise UserError(*refused)
    new = revised(_bare(old, kind), overrides) if overrides else old
    if problems := list(_budget(old, new, recorded)):
        raise UserError(*problems)
    if (new.scheduler, new.budget) == (old.scheduler, old.budget):
        what = "must be given other settings than those of the run, but got none"
        raise UserError(Problem("--replay", "", what, "Add --set scheduler.reduction_factor=4, say."))
    return old.model_copy(update={"scheduler": new.scheduler, "budget": new.budget})


def spelled_out(old: Experiment, overrides: Sequence[str]) -> list[str]:
    """Name `asha` first where a run of `auto`, which has no settings to change, gets settings but no kind."""
    of_scheduler = [one for one in overrides if re.match(r"scheduler[.=]", one)]
    is_meant = old.scheduler.kind == "auto" and of_scheduler and not any(map(_named_kind, of_scheduler))
    return [*(["scheduler.kind=asha"] if is_meant else []), *overrides]


def _kind(old: Experiment, overrides: Sequence[str]) -> str:
    """Tell which kind of scheduler is asked for; that of the run where none is."""
    return [old.scheduler.kind, *filter(None, map(_named_kind, overrides))][-1]


def _named_kind(override: str) -> str:
    """Read the kind of scheduler that a `KEY=VALUE` asks for; empty where it asks for none."""
    key, _, text = override.partition("=")
    if key not in ("scheduler", "scheduler.kind"):
        return ""
    try:
        value = parse(text).value
    except YamlError:
        return ""  # what is wrong with it is said where it is put into the spec
    kind = value.get("kind") if key == "scheduler" and isinstance(value, dict) else value
    return kind if isinstance(kind, str) else ""


def _bare(old: Experiment, kind: str) -> dict[str, object]:
    """Write down the experiment without what no replay needs; another kind of scheduler begins with its defaults."""
    needless = {"start", "confirm", "resources", "loggers", "test"}
    values = old.model_dump(exclude_none=True, exclude=needless)
    if kind != old.scheduler.kind:
        del values["scheduler"]
    if old.search.kind == "auto":
        values["search"] = {"kind": "tpe"}
    return values


def _fixed(override: str) -> Iterator[Problem]:
    section = override.partition("=")[0].partition(".")[0]
    if section not in ("scheduler", "budget") and section in Experiment.model_fields:
        what = f"must stay as it was where a run is replayed, but is changed: {REASONS.get(section, CURVES)}"
        yield Problem(f"--set {override}", section, what, "Change scheduler or budget, or start a new run.")


def _never(kind: str) -> Iterator[Problem]:
    if kind in NEVER:
        what = f"must be a scheduler that can be replayed on the trials of a run, but got {kind}"
        yield Problem("--set", "scheduler.kind", what, f"{NEVER[kind]} Add --set scheduler.kind=asha, say.")


def _budget(old: Experiment, new: Experiment, recorded: int) -> Iterator[Problem]:
    before, after = old.budget, new.budget
    if after.epochs != before.epochs:
        what = f"must stay {before.epochs}, where schedules end, but got {after.epochs}"
        yield Problem("--set", "budget.epochs", what, "Start a new run: its curves would be others.")
    if after.trials > recorded and after.trials != before.trials:
        what = f"must be at most {recorded}, as many as are recorded, but got {shown(after.trials)}"
        yield Problem("--set", "budget.trials", what, "Leave it out to replay all of them.")
