"""Write REPORT.md, what was measured in one place, from the kept figures: `python -m benchmarks.overview`."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import report
from benchmarks.replay import aims
from benchmarks.replay import page as searches

HERE = Path(__file__).parent
REPORT = HERE / "REPORT.md"
HEAD = """# What was measured, in one place

Written by `python -m benchmarks.overview` from the figures in `raw/`; `make bench` measures anew what two cores can.
Each section names the page with the whole of it. Sections were measured on different days; what is compared with each
other ran side by side, but for the searches, whose clock is a virtual one. What was tried without gain, in all of
them: [LOG.md](LOG.md).
"""
MANY = 1000
"""Trials at which the cost of a suggestion was to be told."""
OVERHEAD = """## Overhead

The job of `overhead.yaml`, a small ResNet on digits: (a) bare PyTorch loops, (b) Ray Tune + Optuna as Ray's guide
stands, (c) the same with `reuse_actors=True`, (d) plain Optuna in two processes, (e) this service. All of it, with each
one's command: [OVERHEAD.md](OVERHEAD.md).
"""
SEARCH = """## Search

Freeze-thaw (`search: {kind: auto}`) and its peers on recorded learning curves, eight workers on a virtual clock;
`auto-table` chooses among the table's own configs, and the aims are its. All methods, intervals, each task, versions
and commands: [SEARCH.md](SEARCH.md).
"""
RELIABILITY = """## Reliability

Which faults were tried, how often and what was lost (100 kills by SIGKILL among them, every record of a ledger, full
and failing disks, dying machines): [../docs/reliability.md](../docs/reliability.md). What the tests notice of code that
is broken on purpose: [MUTANTS.md](MUTANTS.md).
"""
SCALE = """## Scale

All nodes share two cores here, and trials sleep; 1,000 live trials are an estimate. All of it:
[SCALING.md](SCALING.md).
Three hosts with `ray up`, one lost in the middle: `tests/machines`.
"""
GPUS = """## GPUs

What one NVIDIA H200 gave to several trials, and how it held their shares: [GPU.md](GPU.md). Several GPUs were never at
hand.
"""
ELSEWHERE = """## What has its table elsewhere

- the same job in plain Ray Tune, plain Optuna and here, and what faults do: [../docs/compare.md](../docs/compare.md)
- Optuna's samplers on smooth functions, what each scheduler saves: [../docs/README.md](../docs/README.md#which-search)
- searches among choices, whole numbers and conditions: [../docs/search/auto.md](../docs/search/auto.md#measured)
- PBT beside the best of a random population: [../docs/schedulers/pbt.md](../docs/schedulers/pbt.md#measured)
- priors, right and wrong, and earlier runs: [../docs/known.md](../docs/known.md)
- what `--replay` tells beside the truth: [../docs/replay.md](../docs/replay.md)
- transfer learning with and without freezing: [../docs/finetune.md](../docs/finetune.md)
"""
ABOUT = ("date", "hardware", "system", "versions", "commit")


def main() -> None:
    """Write the page."""
    REPORT.write_text(page())
    print(REPORT)


def page() -> str:
    """Gather it from the kept figures."""
    return "\n".join([HEAD, overhead(), search(), reliability(), scale(), GPUS, ELSEWHERE])


def raw(name: str) -> Any:
    """Read kept figures."""
    return json.loads((HERE / "raw" / f"{name}.json").read_text())


def about(machine: dict[str, str], command: str) -> str:
    """Say when, where, with what and by which command."""
    return "\n".join([*(f"- {key}: {machine[key]}" for key in ABOUT if key in machine), f"- command: `{command}`", ""])


def row(figure: str, seen: str, aim: str, reached: bool | None) -> str:
    """Write one line of a table; what has no aim is neither reached nor missed."""
    verdict = "" if reached is None else "yes" if reached else "**missed**"
    return f"| {figure} | {seen} | {aim} | {verdict} |"


def table(rows: list[str]) -> str:
    """Head the lines of a table."""
    return "\n".join(["| figure | seen | aim | reached |", "|---|---|---|---|", *rows, ""])


def overhead() -> str:
    """Say what the service costs beside bare loops and beside its peers."""
    data, rates = raw("overhead"), raw("rates")
    page = report.page(data, rates)
    targets = page.partition("## Targets\n\n")[2].partition("\n\n")[0]
    return "\n".join(
        [
            OVERHEAD,
            about(data["machine"], "python -m benchmarks.overhead; python -m benchmarks.rates"),
            targets,
            "",
        ]
    )


def search() -> str:
    """Say what the searches find on recorded curves, beside the peers, and on curves made to mislead."""
    played = searches.groups()
    line = next(one for one in raw("decisions")["lines"] if one["trials"] >= MANY)
    costs = [(f"… the same in a run of {line['trials']:,} trials so far (`python -m benchmarks.decisions`)",
              f"{line['suggestion']:.0f} ms", f"≤ {aims.DEAREST} ms", line["suggestion"] <= aims.DEAREST),
             ("… and of a report with what follows from it, among the last thousand rows",
              f"{line['mean']:.0f} ms", "–", None)]  # fmt: skip
    rows = [row(*one) for one in [*aims.rows(searches.regrets(played)), *aims.costs(played), *costs]]
    return "\n".join([SEARCH, about(aims.machines(), "python -m benchmarks.search --data FOLDER"), table(rows)])


def reliability() -> str:
    """Say what long runs, the ledger and memory's edge showed."""
    soak, ledger, edge = raw("soak"), raw("ledger"), raw("memory_edge")
    found, costs = soak["figures"], [one["share_of_the_runs_time"] for one in ledger["runs"]]
    memory, rate, seconds = found["memory_growth"], found["rate_ratio"], found["replay_seconds"]
    mine, peer = edge["out_of_memory"]["ours"], edge["out_of_memory"]["ray and optuna"]
    best, peers_best = edge["best"]["ours"], edge["best"]["ray and optuna"]
    rows = [
        row("driver's memory, 5,000 trials beside 1,000", f"{memory:+.1%}", "< +15 %", memory < 0.15),
        row("trials a second, last tenth beside the first", f"{rate:.2f}", "≥ 0.7", rate >= 0.7),
        row("reading the ledger of 5,000 trials", f"{seconds:.2f} s", "< 2 s", seconds < 2),
        row("the ledger's share of a run's time", f"{median(costs):.1%}", "< 2 %", median(costs) < 0.02),
        row("trials of 60 out of memory, beside Ray Tune + OptunaSearch (simulated GPU, 12 seeds)",
            f"{mine:.1f} / {peer:.1f} = {edge['ratio']:.0%}", "≤ 25 %", edge["ratio"] <= 0.25),
        row("… and the best value", f"{best:.3f} / {peers_best:.3f}", "better", best > peers_best),
    ]  # fmt: skip
    return "\n".join(
        [
            RELIABILITY,
            about(soak["machine"], "python -m benchmarks.soak"),
            f"The ledger: `python -m benchmarks.ledger`, {ledger['machine']['date']}. Memory's edge:",
            f"`python -m benchmarks.memory_edge`, {edge['date']}, commit {edge['commit']}.\n",
            table(rows),
        ]
    )


def scale() -> str:
    """Say how a run grows over nodes, and what many live trials cost the driver."""
    nodes, live = raw("scaling")["nodes"], raw("scaling")["live"]
    rows = []
    for count in (2, 4, 8):
        speeds = [_rate(each, count) / _rate(each, 1) for each in nodes["rounds"]]
        rows.append(row(f"speed-up on {count} logical nodes", f"{median(speeds):.2f}", "–", None))
    most = max(live["found"], key=lambda one: (one["live"], -one["pace"]))
    rows.append(row(f"driver's share of a core, {most['live']} live trials that report each second",
                    f"{most['share']:.2f}", "–", None))  # fmt: skip
    return "\n".join(
        [
            SCALE,
            about(nodes["machine"], "python -m benchmarks.scaling"),
            table(rows),
        ]
    )


def _rate(each: list[dict[str, Any]], count: int) -> float:
    return float(next(one["rate"] for one in each if one["nodes"] == count))


if __name__ == "__main__":
    main()
