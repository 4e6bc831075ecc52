"""Compare this service with bare loops, Ray's guide and plain Optuna, side by side; see OVERHEAD.md.

python -m benchmarks.overhead                  # three rounds of five contenders; the machine must be quiet
python -m benchmarks.overhead --quick          # a smoke test of a few minutes; writes nothing here
python -m benchmarks.overhead --rounds 1 --add # one more round beside those already kept
python -m benchmarks.overhead --render         # write OVERHEAD.md anew from the kept figures
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python benchmarks/overhead.py` works too

from benchmarks import machine, report
from benchmarks.contenders import BLOCKS, NAMES, Turn, measure

HERE = Path(__file__).parent
RAW, RATES, PAGE = HERE / "raw" / "overhead.json", HERE / "raw" / "rates.json", HERE / "OVERHEAD.md"


def order(place: int, wanted: set[str]) -> list[str]:
    """Rotate the contenders from round to round."""
    turn = place % len(BLOCKS)
    return [name for block in BLOCKS[turn:] + BLOCKS[:turn] for name in block if name in wanted]


def one_round(place: int, stamp: str, flags: argparse.Namespace) -> dict[str, Any]:
    """Let each contender run once."""
    trials, epochs = (6, 3) if flags.quick else (64, 27)
    results: dict[str, Any] = {}
    for name in order(place, set(flags.contenders)):
        turn = Turn(name, flags.work / f"round{place}", f"overhead-{stamp}-{place}", trials, epochs, place)
        if flags.run:
            turn = Turn(name, turn.folder, flags.run, trials, epochs, place)
        results[name] = measure(turn)
        tell(place, name, results[name])
    return results


def tell(place: int, name: str, result: dict[str, Any]) -> None:
    """Print one line a run."""
    shown = ", ".join(
        f"{key} {result[key]:.3f}" for key in ("rate", "share", "first_result", "seconds") if key in result
    )
    bad = "" if result["exit"] == 0 and shown else f" FAILED with exit {result['exit']}, see {result['log']}"
    print(f"round {place} ({NAMES[name]}) {name}: {shown}{bad}", flush=True)


def kept(path: Path) -> dict[str, Any]:
    """Read figures kept earlier, if any."""
    return json.loads(path.read_text()) if path.exists() else {}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="6 trials of up to 3 epochs, one round, kept in --work")
    parser.add_argument("--contenders", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--run", help="run folder under runs/ for (a), where (e) is not among the contenders")
    parser.add_argument("--work", type=Path, default=Path(f"/tmp/overhead-{time.strftime('%m%d-%H%M%S')}"))
    parser.add_argument("--add", action="store_true", help="keep the rounds measured earlier")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    return parser.parse_args()


def main() -> None:
    """Measure, keep the figures after each round, write the page."""
    flags = parse()
    flags.work = flags.work.resolve()
    raw, page = (flags.work / "overhead.json", flags.work / "OVERHEAD.md") if flags.quick else (RAW, PAGE)
    raw.parent.mkdir(parents=True, exist_ok=True)
    data = kept(raw) if flags.add or flags.render else {}
    if not flags.render:
        data.setdefault("rounds", [])
        data["machine"] = machine.facts()
        stamp = time.strftime("%m%d-%H%M%S")
        for _ in range(1 if flags.quick else flags.rounds):
            data["rounds"].append(one_round(len(data["rounds"]), stamp, flags))
            raw.write_text(json.dumps(data, indent=1) + "\n")
    page.write_text(report.page(data, kept(RATES) if not flags.quick else {}))
    print(f"{page}\n{raw}")


if __name__ == "__main__":
    main()
