"""Run the same job in plain Ray Tune, in plain Optuna and here, break it in five ways, and write docs/compare.md.

python -m benchmarks.compare                             # everything; needs root, for a small disk
python -m benchmarks.compare --only ray --faults driver  # a try; the figures are printed, and kept nowhere
python -m benchmarks.compare --faults driver --add       # these anew, beside the others that are kept
python -m benchmarks.compare --render                    # write the page anew from the kept figures
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.compare import page
from benchmarks.compare.faults import FAULTS
from benchmarks.compare.lines import FILES, count


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(FILES), default=list(FILES))
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--add", action="store_true", help="keep the others that were measured earlier")
    return parser.parse_args()


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Let each contender meet each fault, in turn."""
    found: dict[str, Any] = {}
    for fault in flags.faults:
        for contender in flags.only:
            with tempfile.TemporaryDirectory(prefix="compare") as work:
                result = FAULTS[fault](contender, Path(work))
            moment = {"load": round(os.getloadavg()[0], 1), "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime())}
            found.setdefault(fault, {})[contender] = {**result, **moment}
            print(f"{fault} {contender}: {json.dumps(found[fault][contender], indent=1)}", flush=True)
    return found


def main() -> None:
    """Measure, keep the figures, write the page."""
    flags = parse()
    if not flags.render:
        began = time.time()
        found = measure(flags)
        seconds = round(time.time() - began)
        facts, later = machine.facts(), dict[str, str]()
        if flags.add:
            kept = json.loads(page.RAW.read_text())
            anew = {
                f"{fault}, {who}": f"{facts['date']}, commit {facts['commit']}"
                for fault in found
                for who in found[fault]
            }
            found = {fault: {**kept["faults"][fault], **found.get(fault, {})} for fault in FAULTS}
            facts, seconds, later = kept["machine"], kept["seconds"], {**kept.get("later", {}), **anew}
        elif (set(flags.only), set(flags.faults)) != (set(FILES), set(FAULTS)):
            return
        lines = {contender: count(contender) for contender in FILES}
        data = {"machine": facts, "later": later, "lines": lines, "faults": found, "seconds": seconds}
        page.RAW.write_text(json.dumps(data, indent=1) + "\n")
    page.write()
    print(f"{page.PAGE}\n{page.RAW}")


if __name__ == "__main__":
    main()
