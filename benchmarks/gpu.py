"""Measure on an NVIDIA GPU what docs/gpus.md claims; see GPU.md. Only torch is needed, and less than ten minutes.

python benchmarks/gpu.py                                   # all of it; writes GPU.md and raw/gpu.json
python benchmarks/gpu.py --only share,recovery --out x.md  # some of it; writes x.md and x.json
python benchmarks/gpu.py --device cpu --seconds 0.5 --parts 1,2 --rounds 1  # a dry run, which keeps nothing
python benchmarks/gpu.py --render                          # write GPU.md anew from the kept figures

Without a GPU it says so in GPU.md, unless figures of an earlier run are kept there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # as in a zygote: to look for GPUs shall not begin to use one
sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python benchmarks/gpu.py` works too

from benchmarks import machine
from benchmarks.gpus import claims, mps, packing, report
from benchmarks.gpus.crew import Failed, Skipped, ask
from tuner.slot import zygote

HERE = Path(__file__).parent
PAGE, RAW = HERE / "GPU.md", HERE / "raw" / "gpu.json"
SECTIONS = ("start", "share", "recovery", "precision", "packing")
"""In this order: what is quick first, and what can fill any time last."""


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one figure")
    parser.add_argument("--parts", type=_numbers, default=[1, 2, 4, 8], help="processes at once, such as 1,2,4")
    parser.add_argument("--rounds", type=int, default=0, help="at most; as many as fit into the budget unless given")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds for everything")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS), help=",".join(SECTIONS))
    parser.add_argument("--no-mps", action="store_true")
    parser.add_argument("--out", type=Path, help="the page; kept as GPU.md unless given")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    flags = parser.parse_args(words)
    if unknown := set(flags.only) - set(SECTIONS):
        parser.error(f"--only: must be some of {','.join(SECTIONS)}, but got {','.join(sorted(unknown))}")
    if 1 not in flags.parts:
        parser.error("--parts: must hold 1, which all others are compared with")
    return flags


def places(flags: argparse.Namespace) -> tuple[Path, Path] | None:
    """Say where the page and the raw figures go; nowhere where it was a dry run, or not all of it was measured."""
    if flags.out is not None:
        return flags.out, flags.out.with_suffix(".json")
    whole = flags.device == "cuda" and set(flags.only) == set(SECTIONS)
    return (PAGE, RAW) if whole else None


def measure(flags: argparse.Namespace, about: dict[str, Any]) -> dict[str, Any]:
    """Measure section after section; one that fails is told with its reason, and the next goes on."""
    zygote._warm_up()  # what trials inherit; else each process would import 800 modules for its first optimizer
    clock, device, seconds = packing.Clock(flags.budget), flags.device, flags.seconds
    data: dict[str, Any] = {"device": device, "machine": described(about), "mps": "not tried"}

    def pack() -> list[packing.Cell]:
        with mps.served(device == "cuda" and not flags.no_mps) as daemon:
            data["mps"] = daemon.problem or ("started by this benchmark" if daemon.runs else "not asked for")
            return packing.measure(packing.Plan(device, seconds, flags.parts, flags.rounds), clock, daemon)

    todo: dict[str, Callable[[], Any]] = {
        "start": lambda: claims.start(device),
        "share": lambda: claims.share(device),
        "recovery": lambda: claims.recovery(device),
        "precision": lambda: claims.precision(device, seconds),
        "packing": pack,
    }
    began = time.monotonic()
    for name in (name for name in SECTIONS if name in flags.only):
        print(f"{name} …", flush=True)
        data[name] = tried(todo[name]) if clock.left() > 0 else {"skipped": "the time was used up"}
    data["machine"]["seconds"] = f"{time.monotonic() - began:.0f}"
    return data


def tried(act: Callable[[], Any]) -> Any:
    """Do it, or tell what went wrong."""
    try:
        return act()
    except Skipped as reason:
        return {"skipped": str(reason)}
    except Failed as failure:
        return {"failed": str(failure)}
    except Exception as error:  # one figure less, and the others all the same
        return {"failed": f"{type(error).__name__}: {error}"}


def described(about: dict[str, Any]) -> dict[str, str]:
    """Give the facts of the machine, its GPU among them."""
    facts = machine.facts()
    if "memory" in about:
        gpu = (
            f"{about['count']} × {about['name']}, {about['memory'] / 2**30:.1f} GiB, compute capability "
            f"{about['capability']}, CUDA {about['cuda']}; the first one used"
        )
        facts["hardware"] = facts["hardware"].replace("no GPU used", gpu)
    return facts


def write(flags: argparse.Namespace, page: str, data: dict[str, Any] | None) -> None:
    """Keep the page and the figures, or only show the page."""
    where = places(flags)
    if where is None:
        print(f"\n{page}\nNothing of this is kept: --out FILE keeps it elsewhere.")
        return
    if data is not None:
        where[1].write_text(json.dumps(data, indent=1) + "\n")
    elif where == (PAGE, RAW) and RAW.exists():
        print(f"no GPU here: {PAGE} keeps the figures of an earlier run")
        return
    where[0].write_text(page)
    print(where[0])


def main(words: list[str] | None = None) -> None:
    """Measure, print, keep."""
    flags = parse(words)
    if flags.render:
        PAGE.write_text(report.page(json.loads(RAW.read_text())) if RAW.exists() else report.not_run(machine.facts()))
        return
    about = ask(claims.facts, flags.device)
    if not about["available"]:
        write(flags, report.not_run(machine.facts()), None)
        return
    data = measure(flags, about)
    write(flags, report.page(data), data)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
