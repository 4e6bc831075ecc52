"""Whether a function's trials can pause, as far as its source shows, and so how they are searched by default.

They go on from what it tracks.
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.spec.bind import Bound
from tuner.spec.draft import Draft
from tuner.spec.experiment import is_several
from tuner.spec.model import Broken

TRACK = "Call trial.track(model=model, optimizer=optimizer) before the first epoch."


def can_pause(bound: Bound) -> bool:
    """Tell whether the source shows that a function's trials can go on from a checkpoint."""
    return not bound.trainable.plain_ray and bound.signature is not None and bound.signature.tracks


def choose_search(draft: Draft, bound: Bound) -> None:
    """Choose the search where nothing else is asked for: `auto` where the source shows that trials can pause.

    Where they cannot, ASHA stops them, and finds more among random params than among TPE's (benchmarks/LOG.md); but
    where there is no rung, or something is known, TPE learns more.
    """
    search = draft.value.get("search", {})
    if not isinstance(search, dict) or not search.keys() <= {"seed"} or "scheduler" in draft.value:
        return
    if is_several(draft.value.get("objective")):
        return
    if not (pauses := can_pause(bound)) and (_knows(draft) or draft.get(("budget", "epochs")) == 1):
        return
    if "search" not in draft.value:
        draft.put(("search",), {}, {})
    draft.put(("search", "kind"), "auto" if pauses else "random", {})


def _knows(draft: Draft) -> bool:
    """Tell whether there is something that random search would take no notice of: earlier runs, priors, constraints."""
    dimensions = [one for one in draft.mapping("space").values() if isinstance(one, dict)]
    has_prior = any(one.get("prior") is not None for one in dimensions)
    return bool(has_prior or draft.mapping("start").get("runs") or draft.mapping("constraints"))


def check_kind(bound: Bound, section: str, kind: str) -> Iterator[Broken]:
    """Yield why a function cannot be trained by a kind that pauses trials, as far as its source shows."""
    place, needs = (section, "kind"), "PBT" if kind == "pbt" else kind
    if bound.trainable.plain_ray:
        what = f"since {needs} needs trial.track and {bound.trainable.function}(config) is a plain Ray function"
        instead = "Write kind: asha." if section == "scheduler" else "Write kind: tpe."
        yield Broken(place, f"must be another kind than {kind}, {what}, but got {kind}", instead)
    elif never := _never_tracks(bound):
        what = f"since {needs} needs trial.track and {never}"
        yield Broken(place, f"must be another kind than {kind}, {what}, but got {kind}", TRACK)


def check_promoting(bound: Bound) -> Iterator[Broken]:
    """Yield why a function's trials cannot pause at a rung, as far as its source shows."""
    if never := _never_tracks(bound):
        what = f"since a paused trial goes on from what trial.track has saved and {never}"
        yield Broken(("scheduler", "promote"), f"must be false, {what}, but got true", TRACK)


def _never_tracks(bound: Bound) -> str:
    """Say that a function tracks nothing; empty where it does, or where its source does not tell."""
    signature = bound.signature
    if bound.trainable.plain_ray or signature is None or signature.may_track or not signature.certain:
        return ""
    return f"{bound.trainable.function} ({signature.place}) never calls it"
