"""The table of docs/structure.md: what each room of the house may import. Direct imports count, lazy ones too."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STDLIB = sys.stdlib_module_names
HEAVY = {"ray", "torch", "optuna"}
LATE = {"tuner/trial/simulated.py"}
"""Files that are themselves imported only when they are needed."""

# room → what it may import beside the standard library and itself
ROOMS = {
    "launch.py": {"tuner.cli"},
    "tuner/__main__.py": {"tuner.cli"},
    "tuner/__init__.py": {"tuner.api", "tuner.best", "tuner.trial", "tuner.outputs.results"},
    "tuner/errors.py": set(),
    "tuner/called.py": set(),
    "tuner/spelled.py": set(),
    "tuner/versions.py": set(),
    "tuner/spot.py": set(),
    "tuner/spec": {"tuner.errors", "pydantic", "pydantic_core", "yaml"},
    "tuner/core": {"tuner.spec", "tuner.errors", "tuner.spelled"},
    "tuner/core/search": {"tuner.core", "tuner.spec", "tuner.errors", "optuna", "numpy", "scipy", "threadpoolctl"},
    "tuner/storage": {"tuner.errors", "fsspec"},
    "tuner/ledger.py": {"tuner.core", "tuner.storage", "tuner.errors"},
    "tuner/simulate.py": {"tuner.core", "tuner.spec", "tuner.errors"},
    "tuner/replay.py": {"tuner.core", "tuner.spec", "tuner.errors", "tuner.simulate"},
    "tuner/runs.py": {"tuner.core", "tuner.errors", "tuner.ledger", "tuner.storage"},
    "tuner/earlier.py": {"tuner.core", "tuner.errors", "tuner.ledger", "tuner.runs", "tuner.spec", "tuner.storage"},
    "tuner/ship.py": {"tuner.errors", "tuner.spec", "ray"},
    "tuner/remote": {"tuner.called", "tuner.engine", "tuner.outputs", "tuner.errors", "tuner.ledger", "tuner.runs",
                     "tuner.ship", "tuner.spec", "tuner.storage", "tuner", "ray"},
    "tuner/audit.py": {"tuner.core", "tuner.spec"},
    "tuner/plan.py": {"tuner.core", "tuner.spec", "tuner.simulate"},
    "tuner/trial": {"tuner.errors", "tuner.spelled", "tuner.storage", "torch", "numpy", "PIL", "safetensors"},
    "tuner/slot": {"tuner.trial", "tuner.errors", "tuner.storage", "tuner", "torch", "ray"},
    "tuner/engine": {"tuner.core", "tuner.ledger", "tuner.storage", "tuner.slot", "tuner.trial", "tuner.spec",
                     "tuner.errors", "tuner.ship", "tuner.spelled", "tuner.versions", "tuner", "ray", "grpc", "yaml"},
    "tuner/outputs": {"tuner.called", "tuner.core", "tuner.ledger", "tuner.storage", "tuner.spec", "tuner.errors",
                      "tuner.versions", "tuner.spelled", "tuner.trial.checkpoint", "tuner.replay",
                      "optuna", "rich", "tensorboardX", "pandas", "plotly", "numpy", "PIL", "yaml"},
    "tuner/outputs/loggers": {"tuner.called", "tuner.core", "tuner.spec", "tuner.storage", "wandb", "mlflow"},
    "tuner/api.py": {"tuner.called", "tuner", "tuner.audit", "tuner.core", "tuner.earlier", "tuner.engine",
                     "tuner.ledger", "tuner.outputs", "tuner.runs", "tuner.ship", "tuner.slot", "tuner.spec",
                     "tuner.trial", "tuner.errors", "tuner.versions", "rich", "cloudpickle"},
    "tuner/best.py": {"tuner.api", "tuner.errors", "tuner.outputs.best", "tuner.runs", "tuner.spec", "tuner.storage",
                      "tuner.trial", "torch"},
    "tuner/cli.py": {"tuner.called", "tuner", "tuner.api", "tuner.earlier", "tuner.errors", "tuner.outputs",
                     "tuner.plan", "tuner.remote", "tuner.runs", "tuner.spec", "rich"},
    "tuner/integrations": {"tuner.Trial", "tuner.trial", "tuner.errors", "torch"},
    "tuner/integrations/lightning.py": {"tuner.Trial", "tuner.trial", "lightning"},
    "tuner/integrations/huggingface.py": {"tuner.Trial", "tuner.trial", "tuner.errors", "torch", "transformers"},
    "trainables": {"torch", "numpy", "sklearn", "PIL", "tuner.Trial", "trainables.data"},
    "trainables/lightning_digits.py": {"torch", "lightning", "tuner.Trial", "tuner.integrations", "trainables.data"},
    "trainables/hf_trainer.py": {"torch", "transformers", "tuner.Trial", "tuner.integrations", "trainables.data"},
    "trainables/data": {"torch", "numpy", "sklearn", "PIL", "transformers", "tokenizers", "datasets"},
    "trainables/pretrain.py": {"torch", "transformers", "trainables.data"},
}  # fmt: skip

# Files that may import a heavy library although their room, or the time of import, does not.
SINGLE = {
    "ray": {"tuner/slot/ray_session.py"},
}
LAZY = ("tuner/__init__.py", "tuner/__main__.py", "tuner/api.py", "tuner/best.py", "tuner/cli.py",
        "tuner/engine/run.py", "tuner/engine/cluster.py", "tuner/engine/live.py", "tuner/remote", "tuner/ship.py",
        "tuner/slot", "tuner/trial")  # fmt: skip


def files() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for top in ("launch.py", "tuner", "trainables")
        for path in ([ROOT / top] if (ROOT / top).is_file() else (ROOT / top).rglob("*.py"))
    )


def room_of(file: str) -> str:
    return max((room for room in ROOMS if file == room or file.startswith(f"{room}/")), key=len)


def imports(file: str, top_level_only: bool = False) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    inside = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only or (top_level_only and id(node) in inside):
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports must be absolute"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def allowed(module: str, room: str) -> bool:
    own = room.removesuffix(".py").replace("/", ".").removesuffix(".__init__").removesuffix(".__main__")
    names = ROOMS[room] | ({own} if own not in ("tuner", "trainables", "launch") else set())
    top = module.split(".")[0]
    if top in STDLIB:
        return True
    return any(module == name or module.startswith(f"{name}.") for name in names if name != "tuner") or (
        "tuner" in names and module == "tuner"
    )


@pytest.mark.parametrize("file", files())
def test_imports_stay_in_the_room(file: str) -> None:
    room = room_of(file)
    strangers = {module for module in imports(file) if not allowed(module, room)}
    assert not strangers, f"{file} ({room}) imports {sorted(strangers)}"


@pytest.mark.parametrize("file", [file for file in files() if file.startswith(LAZY) and file not in LATE])
def test_heavy_libraries_are_imported_when_they_are_needed(file: str) -> None:
    tops = {module.split(".")[0] for module in imports(file, top_level_only=True)}
    assert not tops & HEAVY, file


def file_of(module: str) -> str | None:
    """Find the file that an imported module, or a name out of one, comes from."""
    for name in (module, module.rpartition(".")[0]):
        for end in (".py", "/__init__.py"):
            if (ROOT / (file := name.replace(".", "/") + end)).is_file():
                return file
    return None


def lines_of_the_picture() -> list[list[str]]:
    """Read the rooms of each line in the picture of docs/structure.md, from top to bottom."""
    text = (ROOT / "docs" / "structure.md").read_text()
    picture = text.partition("## Rooms, and what each may know")[2].partition("```text\n")[2].partition("```")[0]
    lines = [re.split(r"\s{2,}", line)[0].split(", ") for line in picture.splitlines()]
    return [[name if (ROOT / "tuner" / name).is_dir() else f"{name}.py" for name in line] for line in lines]


def rows_of_the_table() -> dict[frozenset[str], set[str]]:
    """Read from docs/structure.md what each place may import, by the names that the table uses."""
    text = (ROOT / "docs" / "structure.md").read_text()
    rows = [
        row.strip("|").split("|") for row in re.findall(r"^\| `.*\|$", text.partition("| place |")[2], re.MULTILINE)
    ]
    tops = ("tuner", "trainables", "launch.py")
    places = [[name.rstrip("/") for name in re.findall("`([^`]+)`", row[0])] for row in rows]
    return {
        frozenset(name if name.startswith(tops) else f"tuner/{name}" for name in names): set(
            re.findall(r"[\w.]+", row[2])
        )
        for names, row in zip(places, rows, strict=True)
    }


def test_the_table_tells_what_each_room_may_import() -> None:
    rows = rows_of_the_table()
    told = {place: row for row in rows for place in row}
    allowed: dict[frozenset[str], set[str]] = {row: set() for row in rows}
    for room, names in ROOMS.items():
        place = max((name for name in told if room == name or room.startswith(f"{name}/")), key=len)
        allowed[told[place]] |= {name.removeprefix("tuner.") for name in names - {"tuner"}}
    assert allowed == rows


def test_a_room_imports_from_those_below_it_in_the_picture() -> None:
    height = {f"tuner/{name}": -number for number, line in enumerate(lines_of_the_picture()) for name in line}

    def place(file: str) -> str | None:
        return max((room for room in height if file == room or file.startswith(f"{room}/")), key=len, default=None)

    for file in files():
        if file == "tuner/__init__.py" or file.startswith("tuner/integrations/") or not file.startswith("tuner/"):
            continue  # the package's own door, and what user code imports: they stand beside the house
        here = place(file)
        assert here, f"{file} is in no room of the picture"
        for module in imports(file):
            there = place(target) if (target := file_of(module)) else None
            if there is None or there == here or {here, there} == {"tuner/core", "tuner/core/search"}:
                continue
            assert height[there] < height[here], f"{file} imports {module}, which is not below it"


def test_a_worker_starts_without_the_core_and_the_spec() -> None:
    """Each of a run's workers pays for what it imports; pydantic's models are built anew in each."""
    seen, ahead = set[str](), ["tuner/engine/worker.py"]
    while ahead:
        seen.add(file := ahead.pop())
        found = {file_of(module) for module in imports(file, top_level_only=True) if module.startswith("tuner.")}
        ahead += [other for other in found if other and other not in seen]
    assert "tuner/slot/slot.py" in seen
    assert not [file for file in seen if file.startswith(("tuner/core/", "tuner/spec/"))]


def test_only_these_files_of_the_slot_know_ray() -> None:
    knowing = {
        file for file in files() if file.startswith("tuner/slot") and any(m.startswith("ray") for m in imports(file))
    }
    assert knowing == SINGLE["ray"]


def test_core_search_alone_knows_optuna_in_the_core() -> None:
    knowing = [f for f in files() if f.startswith("tuner/core") and any(m.startswith("optuna") for m in imports(f))]
    assert knowing
    assert all(file.startswith("tuner/core/search/") for file in knowing)


def test_files_and_functions_stay_short() -> None:
    sizes = []
    others = (path for top in ("tests", "benchmarks") for path in (ROOT / top).rglob("*.py"))
    for file in [*files(), *(str(path.relative_to(ROOT)) for path in others)]:
        text = (ROOT / file).read_text()
        assert text.count("\n") <= 300, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (size := node.end_lineno - node.lineno + 1) <= 60, f"{file}: {node.name}"
                sizes.append(size)
    sizes.sort()
    assert sizes[len(sizes) // 2] <= 8
    assert sizes[int(len(sizes) * 0.9)] <= 30
