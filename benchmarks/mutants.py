"""Break the core, the ledger and the checkpoint on purpose, one place at a time, and see whether a test falls.

python -m benchmarks.mutants                   # some half an hour; writes MUTANTS.md
python -m benchmarks.mutants --only ledger --count 5 --out x.md

A mutant is one changed operator, constant, condition or deleted statement. It lives in a copy of the repository, where
the tests of that file run until the first one fails. Which places are changed is drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine

HERE = Path(__file__).parent
REPORT = HERE / "MUTANTS.md"
CORE = ["tests/core/test_run.py", "tests/core/test_properties.py", "tests/core/test_extension.py"]
CONFIRM = ["tests/core/test_confirm.py", "tests/core/test_confirm_goes_on.py"]
RULES = [
    "tests/core/test_rule_contract.py",
    "tests/core/test_extension.py",
    "tests/core/test_properties.py",
    "tests/core/test_conformance.py",
]
TARGETS: dict[str, list[str]] = {
    "tuner/core/rules/asha.py": [
        "tests/core/test_rules_asha.py",
        "tests/core/test_constraints.py",
        "tests/core/test_several.py",
        *RULES,
    ],
    "tuner/core/rules/hyperband.py": ["tests/core/test_rules_hyperband.py", *RULES],
    "tuner/core/rules/median.py": ["tests/core/test_rules_median.py", *RULES],
    "tuner/core/rules/pbt.py": ["tests/core/test_rules_pbt.py", "tests/core/test_rules_mutate.py", *RULES],
    "tuner/core/rules/thaw.py": ["tests/core/test_auto.py", "tests/core/test_auto_grown.py", *RULES],
    "tuner/core/run.py": [*CORE, *CONFIRM, "tests/core/test_losses.py", "tests/core/test_out_of_memory.py"],
    "tuner/core/state.py": [*CORE, *CONFIRM, "tests/core/test_losses.py"],
    "tuner/core/trial.py": [*CORE, *CONFIRM, "tests/core/test_losses.py", "tests/core/test_out_of_memory.py"],
    "tuner/ledger.py": ["tests/test_ledger.py", "tests/test_ledger_copy.py"],
    "tuner/trial/checkpoint.py": ["tests/trial/test_trial_checkpoint.py", "tests/trial/test_trial_resume.py"],
}
PATIENCE = 240
"""Seconds after which the tests of a mutant that hangs are ended: it was noticed."""
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A changed file: what it says now, and where it differs."""

    line: int
    before: str
    after: str
    source: str


def main() -> None:
    """Try the mutants, and write down which of them no test noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="files with one of these in their names")
    parser.add_argument("--count", type=int, default=25, help="mutants of each file")
    parser.add_argument("--out", type=Path, default=REPORT)
    flags = parser.parse_args()
    tried = {name: tests for name, tests in TARGETS.items() if any(part in name for part in flags.only)}
    kept = dict(re.findall(r"(?ms)^## `(.*?)`\n(.*?)(?=^## |\Z)", flags.out.read_text())) if flags.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(HERE.parent, copy, ignore=shutil.ignore_patterns(".git", "runs", ".*_cache", "build", ".venv*"))
        for name, tests in tried.items():
            kept[name] = section(copy, name, tests, flags.count)
            flags.out.write_text(page(kept))


HEAD = """# What the tests notice

Written by `python -m benchmarks.mutants`: places of the files below that were broken on purpose, one at a time. A
mutant survives where no test of its file fails; the tests are those named, not all there are.
"""


def page(kept: Mapping[str, str]) -> str:
    """Write down what is kept of each file, and which of the files were never tried."""
    left_out = [f"`{name}`" for name in TARGETS if name not in kept]
    parts = [f"\n**Not tried yet**: {', '.join(left_out)}.\n"] if left_out else []
    parts += [f"\n## `{name}`\n\n{kept[name].strip()}\n" for name in TARGETS if name in kept]
    return HEAD + "".join(parts)


def section(copy: Path, name: str, tests: list[str], count: int) -> str:
    """Try mutants of one file; returns what to write of them, with the day and the machine."""
    file = copy / name
    original = file.read_text()
    mutants = list(mutants_of(original))
    drawn = random.Random(name).sample(mutants, min(count, len(mutants)))
    survived = []
    try:
        for mutant in drawn:
            file.write_text(mutant.source)
            lives = passes(copy, tests)
            print(
                f"{name}:{mutant.line}  {mutant.before}  ->  {mutant.after}: {'SURVIVED' if lives else 'noticed'}",
                flush=True,
            )
            survived += [mutant] if lives else []
    finally:
        file.write_text(original)
    facts = "; ".join(machine.facts()[key] for key in ("date", "hardware", "system", "versions", "commit"))
    lines = [f"{len(drawn) - len(survived)} of {len(drawn)} noticed by {', '.join(tests)}. ({facts})\n"]
    lines += [
        f"- line {one.line}: `{one.before}` → `{one.after}`" for one in sorted(survived, key=lambda one: one.line)
    ]
    return "\n".join([*lines, ""])


def passes(copy: Path, tests: list[str]) -> bool:
    """Run tests until one fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def mutants_of(source: str) -> Iterator[Mutant]:
    """List all mutants of a file."""
    count = len(list(ast.walk(ast.parse(source))))
    for place in range(count):
        tree = ast.parse(source)
        node = list(ast.walk(tree))[place]
        if hasattr(node, "lineno") and changed(node):
            after = ast.unparse(tree)
            compile(after, "mutant", "exec")
            before = source.splitlines()[node.lineno - 1].strip()
            yield Mutant(node.lineno, before, short(node), after)


def changed(node: ast.AST) -> bool:
    """Change a node in place, where there is something to change that could matter."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        node.ops[0] = COMPARED[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED and not isinstance(node.left, ast.JoinedStr):
        node.op = COMPUTED[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, bool):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        node.value = ast.Constant(None)
    else:
        return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _deleted(node)
    return True


def _deleted(node: ast.Expr) -> bool:
    node.value = ast.Constant(None)
    return True


def short(node: ast.AST) -> str:
    """Show what a place says now."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else text[:87] + "..."


if __name__ == "__main__":
    main()
