"""Write GPU.md from what was measured. What was not measured is said to be so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from benchmarks.gpus.packing import Cell, ratios

Data = dict[str, Any]
HEAD = """# What a GPU gives to several trials

Written by `benchmarks/gpu.py`; raw figures in `raw/gpu.json`.
"""
DRY = """**A dry run on a CPU: it shows that the benchmark runs. Its figures say nothing about GPUs.**
"""
AGAIN = """
To run it on a machine with an NVIDIA GPU, where torch and this repository are all that is needed (under ten minutes):

    python benchmarks/gpu.py
"""
MIB = 2**20


def not_run(facts: dict[str, str]) -> str:
    """Write the page for a machine without a GPU."""
    return f"{HEAD}\nThe GPU part was not run: no GPU at hand ({facts['date']}, {facts['hardware']}).\n{AGAIN}"


def page(data: Data) -> str:
    """Write the page."""
    facts = "".join(f"- {name}: {value}\n" for name, value in data["machine"].items())
    parts = [HEAD, *([DRY] if data["device"] == "cpu" else []), facts]
    for name, write in (
        ("packing", packing), ("start", start), ("share", share), ("recovery", recovery), ("precision", precision)
    ):  # fmt: skip
        parts.append(f"## {TITLES[name]}\n\n{_section(data.get(name, {'skipped': 'left out'}), write, data)}")
    return "\n".join(parts) + AGAIN


def _section(told: Any, write: Callable[[Any, Data], str], data: Data) -> str:
    if isinstance(told, dict) and "skipped" in told:
        return f"Not measured: {told['skipped']}.\n"
    if isinstance(told, dict) and "failed" in told:
        return f"**Failed**: {told['failed']}.\n"
    return write(told, data)


TITLES = {
    "packing": "Several trials on one GPU",
    "start": "Start of a process",
    "share": "Memory held to its share",
    "recovery": "Out of memory, and out of it again",
    "precision": "bf16 against fp32",
}


def packing(cells: Sequence[Cell], data: Data) -> str:
    """Write the table of ratios: the median over the rounds, and each round."""
    columns = sorted({cell["parts"] for cell in cells})
    lines = [
        "Steps a second of all processes together, divided by those of one process without MPS in the same round:",
        "the median, and each round. Each process is held to 1/n of the memory and has its own batch on the GPU, so no",
        "loader slows it down.",
        "",
        "| | one alone, steps a second | " + " | ".join(f"{parts} at once" for parts in columns) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name in dict.fromkeys(cell["work"] for cell in cells):
        for is_mps in sorted({cell["mps"] for cell in cells}):
            alone = _rates(cells, name, is_mps)
            shown = [_cell(cells, name, parts, is_mps) for parts in columns]
            lines.append(f"| {name}{', MPS' if is_mps else ''} | {alone} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + f"\n\nMPS: {data['mps']}.\n"


def _rates(cells: Sequence[Cell], name: str, is_mps: bool) -> str:
    wanted = (name, 1, is_mps)
    rates = [c["rates"][0] for c in cells if (c["work"], c["parts"], c["mps"]) == wanted and "rates" in c]
    return f"{median(rates):.1f}" if rates else "not measured"


def _cell(cells: Sequence[Cell], name: str, parts: int, is_mps: bool) -> str:
    """Give one figure, or the reason why there is none."""
    found = ratios(cells, name, parts, is_mps)
    if found:
        return f"{median(found):.2f} ({', '.join(f'{one:.2f}' for one in found)})"
    wanted = (name, parts, is_mps)
    failures = [c["failed"] for c in cells if (c["work"], c["parts"], c["mps"]) == wanted and "failed" in c]
    return f"failed: {failures[0]}".replace("|", "/") if failures else "not measured"


def start(told: Data, data: Data) -> str:
    """Write how long a process takes to its first kernel, and what it holds of the GPU."""
    text = (
        f"Until its first kernel is done a fresh process, which imports torch first, took {_seconds(told['fresh'])};\n"
        f"one forked from a process that has imported it, as trials are, {_seconds(told['forked'])}.\n"
    )
    if "context" not in told:
        return text
    return text + (
        f"Beyond what torch's allocator counts, and so beside its share, a process held {_mib(told['context'])} of\n"
        f"the GPU after its first kernel, and {_mib(told['context_trained'])} after ten steps of the small CNN.\n"
    )


def share(told: Data, data: Data) -> str:
    """Write what a process got that wanted more than its share."""
    allowed, held = _mib(told["share"] * told["total"]), _mib(told["held"])
    if not told["error"]:
        return f"**Not held**: with a share of {told['share']} ({allowed}) a process got {held} and no error.\n"
    return (
        f"With a share of {told['share']} ({allowed}) a process got {held}, then an OutOfMemoryError"
        f"{'' if told['known'] else ', **which the slot does not know as one**'}; it gave\n"
        f"back what it had, and {'went on' if told['went_on'] else '**did not go on**'}. "
        f"A second one trained beside it all the while: {told['neighbours_steps']} steps, no error.\n"
    )


def recovery(told: Data, data: Data) -> str:
    """Write how a batch that did not fit was trained in two parts."""
    difference = apart(told["whole"]["losses"], told["parts"].get("losses", []))
    if difference is None:
        return f"**Not recovered**: in two parts it ended with {told['parts'].get('error', 'other batches')}.\n"
    same = f"losses differ by {difference:.1e} of their size at the most from those of whole batches"
    if "short" not in told:
        return f"In two parts the {same}.\nThat they do not fit as a whole cannot be tried on a CPU.\n"
    short = told["short"]
    if "error" not in short:
        return f"**Not tried**: at a share of {told['share']:.4f} the whole batch fitted, which it was not to do.\n"
    splits = "it could be split" if short["could_split"] else "**it could not be split**"
    return (
        f"Whole batches took {_mib(told['whole']['reserved'])}. Held to {_mib(told['share'] * told['whole']['total'])} "
        f"the trial ran out of memory, and said that\n{splits}:\n\n    {short['error']}\n\n"
        f"In two parts, held to the same, it went on, and its {same}.\n"
    )


def apart(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Compute the largest relative difference of two curves; None where they are not equally long, or empty."""
    if not one or len(one) != len(other):
        return None
    return max(abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in zip(one, other, strict=True))


def precision(told: Sequence[Data], data: Data) -> str:
    """Write how much faster bf16 is, of one process alone."""
    lines = ["Steps a second in bf16 by those in fp32 (torch's defaults: TF32 in convolutions alone), each round:", ""]
    for name in dict.fromkeys(one["work"] for one in told):
        found = {(one["turn"], one["kind"]): one["rates"][0] for one in told if one["work"] == name and "rates" in one}
        turns = sorted({turn for turn, _ in found})
        pairs = [(found.get((turn, "bf16")), found.get((turn, "fp32"))) for turn in turns]
        shown = ", ".join(f"{bf16 / fp32:.2f}" for bf16, fp32 in pairs if bf16 and fp32)
        failures = [one["failed"] for one in told if one["work"] == name and "failed" in one]
        lines.append(f"- {name}: {shown or 'not measured' + (f' ({failures[0]})' if failures else '')}")
    return "\n".join(lines) + "\n"


def _mib(count: float) -> str:
    return f"{count / MIB:.0f} MiB"


def _seconds(times: Sequence[float]) -> str:
    return f"{median(times):.2f} s ({', '.join(f'{one:.2f}' for one in times)})"
