"""How trials ended: what was stopped and why, and failures by their type."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tuner.core.records import OUTCOMES, Lost, Mark
from tuner.core.trial import TrialState
from tuner.outputs.live import is_bad
from tuner.outputs.page.history import History
from tuner.outputs.page.html import Figure, block, folded, paragraph, plot, table, text, whole

MOST_REASONS = 200
FROM_ALL = ("stopped", "killed")


def stopped(history: History) -> str:
    """Show at which epochs trials ended, and by what reason those that were stopped."""
    trials = list(history.run.trials.values())
    ended = [trial for trial in trials if trial.outcome]
    if not ended:
        return paragraph("No trial has ended yet.")
    early = [trial for trial in trials if trial.outcome in FROM_ALL]
    made = plot(_epochs(ended), "At which epoch trials ended, and with what outcome.", 300)
    made += _rungs(history)
    if not early:
        return made + paragraph("No trial was stopped before its last epoch.")
    reasons = [[trial.id, trial.outcome, trial.epoch, trial.reason] for trial in early[:MOST_REASONS]]
    more = f" (the first {MOST_REASONS} here, all in the table of all trials)" if len(early) > MOST_REASONS else ""
    title = f"Why each of the {len(early)} was stopped{more}"
    return made + folded(text(title), table(["trial", "outcome", "at epoch", "why"], reasons, sortable=True))


def _epochs(ended: list[TrialState]) -> Figure:
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for trial in ended:
        counts[str(trial.outcome)][trial.epoch] += 1
    last = max(trial.epoch for trial in ended)
    across = {"title": {"text": "epoch at which they ended"}, "range": [-0.6, last + 0.6], **whole(last)}
    data = [
        {"type": "bar", "name": outcome, "x": sorted(counts[outcome]),
         "y": [counts[outcome][epoch] for epoch in sorted(counts[outcome])],
         "width": 0.8, "marker": {"color": f"@{outcome}"},
         "hovertemplate": f"%{{y}} {outcome} at epoch %{{x}}<extra></extra>"}
        for outcome in OUTCOMES if outcome in counts
    ]  # fmt: skip
    layout = {
        "barmode": "stack", "xaxis": across,
        "yaxis": {"title": {"text": "trials"}}, "showlegend": True,
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _rungs(history: History) -> str:
    """Tell for each rung how many came, and how many went no further."""
    came: dict[tuple[int, int], list[str]] = {
        rung: [name for _, _, name in entries] for rung, entries in sorted(history.run.rungs.items())
    }
    if not came or history.run.spec.scheduler.kind == "pbt":  # whose rungs end nobody
        return ""
    cutoffs: dict[tuple[int, int], float] = {}
    for _, report in history.reports:
        if (mark := report.decision.mark) is not None and mark.cutoff is not None:
            cutoffs[mark.bracket, mark.epoch] = mark.cutoff
    several = len({bracket for bracket, _ in came}) > 1
    rows = []
    for rung, names in came.items():
        here = [history.run.trials[name] for name in set(names)]
        over = sum(t.outcome in FROM_ALL and t.mark is not None and _at(t.mark) == rung for t in here)
        rows.append([*([rung[0]] if several else []), rung[1], len(names), over, cutoffs.get(rung)])
    titles = ["rung (epoch)", "came", "went no further", f"last cutoff, {history.metric}"]
    return table([*(["bracket"] if several else []), *titles], rows)


def _at(mark: Mark) -> tuple[int, int]:
    return mark.bracket, mark.epoch


def failures(history: History) -> str:
    """Group what went wrong by its type."""
    groups = _failed(history)
    lost = Counter(str(record.cause) for _, record in history.moments if isinstance(record, Lost))
    made = ""
    if groups:
        bar = {
            "type": "bar", "orientation": "h", "x": [len(trials) for trials in groups.values()],
            "y": [text(name) for name in groups], "hovertemplate": "%{y}: %{x} trials<extra></extra>",
            "marker": {"color": [f"@{trials[0].outcome}" for trials in groups.values()]},
        }  # fmt: skip
        layout = {
            "xaxis": {"title": {"text": "trials"}, "rangemode": "tozero"},
            "yaxis": {"type": "category", "autorange": "reversed"},
        }
        figure = {"data": [bar], "layout": layout}
        made += plot(figure, "Trials that failed, by the type of their failure.", 100 + 28 * len(groups))
        made += "".join(_details(groups))
    else:
        made += paragraph("No trial failed.")
    if lost:
        said = ", ".join(f"{count} by {cause}" for cause, count in lost.most_common())
        made += paragraph(f"Workers that were lost, after which the trial went on from its last checkpoint: {said}.")
    return made


def _failed(history: History) -> dict[str, list[TrialState]]:
    groups: dict[str, list[TrialState]] = defaultdict(list)
    for trial in history.run.trials.values():
        if is_bad(trial):
            groups[_type(trial)].append(trial)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _type(trial: TrialState) -> str:
    """Name the exception that ended a trial, else its outcome."""
    name = trial.reason.strip().split("\n", 1)[0].partition(":")[0]
    words = name.replace(".", "").replace("_", "")
    return name if trial.outcome == "failed" and words.isalnum() else str(trial.outcome)


def _details(groups: dict[str, list[TrialState]]) -> Iterator[str]:
    for name, trials in groups.items():
        reasons = Counter(trial.reason for trial in trials)
        rows = []
        for reason, count in reasons.most_common(20):
            names = [trial.id for trial in trials if trial.reason == reason]
            rows.append([reason, count, ", ".join(names[:5]) + (" …" if count > 5 else "")])
        inside = table(["why", "trials", "which"], rows)
        last = next((trial for trial in reversed(trials) if trial.error), None)
        if last is not None:
            inside += paragraph(f"The last traceback, of {text(last.id)}:") + block(last.error.rstrip())
        yield folded(f"{text(name)}: {len(trials)} trial{'s' * (len(trials) > 1)}", inside)
