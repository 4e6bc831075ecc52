"""What every machine of a cluster must have: asked on each of them, before anything begins."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.engine.cluster import machines
from tuner.engine.machines import Node
from tuner.errors import UserError
from tuner.slot.code import Code
from tuner.slot.launcher import zygote
from tuner.versions import versions

ANSWER_SECONDS = 25.0
"""So long a machine may take: a worker starts there, and imports the trainable."""
SHARE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a machine says of itself."""

    host: str
    versions: dict[str, str]
    storage: str = ""
    """What is wrong with the run's folder there."""
    code: str = ""
    """What is wrong with the trainable there, or with its data."""


def survey(
    nodes: Sequence[Node], place: Path | str, code: Code | None = None, shipped: str = ""
) -> dict[str, list[str]]:
    """Ask machines whether they share a folder, or can write below a URL, and whether they can import `code`.

    Returns what is wrong, with its fix, by Ray's id of the machine; one that died meanwhile is left out. With `code`
    they load its data too.
    """
    return _survey_folder(nodes, place, code, shipped) if isinstance(place, Path) else _ask(nodes, place, code, shipped)


def _survey_folder(nodes: Sequence[Node], folder: Path, code: Code | None, shipped: str) -> dict[str, list[str]]:
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    mark = folder / f".seen-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        wrong = f"storage: {folder} cannot be made or written here ({error.strerror}). Name another folder, or a URL."
        return {node.name: [wrong] for node in nodes}
    try:
        return _ask(nodes, mark, code, shipped)
    finally:
        for file in [*mark.parent.glob(f"{mark.name}*")]:
            file.unlink(missing_ok=True)
        for place in made:
            with suppress(OSError):
                place.rmdir()


def _ask(nodes: Sequence[Node], mark: Path | str, code: Code | None, shipped: str) -> dict[str, list[str]]:
    """Ask each machine; `mark` is a file in the folder that all must share, or a URL."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    ask = ray.remote(num_cpus=0, max_retries=0)(_answer)
    asked = {
        ask.options(scheduling_strategy=On(node.name, soft=False)).remote(mark, node.name, code, shipped): node
        for node in nodes
    }
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    found = {
        node.name: [f"{node.address}: {text}" for text in _findings(ref in answered, ref, node, mark)]
        for ref, node in asked.items()
    }
    living = {node.name for node in machines()}
    return {name: texts for name, texts in found.items() if name in living}


def _findings(has_answered: bool, ref: Any, node: Node, mark: Path | str) -> list[str]:
    import ray

    if not has_answered:
        return [f"does not answer within {ANSWER_SECONDS:.0f} s. See `ray status`, and this machine's log."]
    try:
        answer: Answer = ray.get(ref)
    except Exception as error:  # Ray's own, or what unpickling raises where the project is not installed
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return [f"cannot run this project ({last}). Install the same version there, with the same constraints."]
    found = [text for text in (answer.storage, answer.code) if text]
    if isinstance(mark, Path) and not answer.storage and not _appears(_theirs(mark, node.name)):
        found.append(_unshared(mark.parent))
    here = versions()
    other = [f"{name} {answer.versions.get(name)}, not {number}" for name, number in here.items()
             if answer.versions.get(name) != number]  # fmt: skip
    if other:
        found.append(f"has {', '.join(other)}. Install from the same constraints.")
    return found


def _answer(mark: Path | str, name: str, code: Code | None, shipped: str) -> Answer:
    """Runs on the machine that is asked."""
    storage = _folder(mark, name) if isinstance(mark, Path) else _url(mark)
    return Answer(os.uname().nodename, versions(), storage, _code(code, shipped) if code else "")


def _url(url: str) -> str:
    from tuner.storage.url import probe

    try:
        probe(url)
    except UserError as error:
        return str(error)
    return ""


def _folder(mark: Path, name: str) -> str:
    if not _appears(mark):
        return _unshared(mark.parent)
    try:
        with tempfile.NamedTemporaryFile(dir=mark.parent, prefix=".try-") as file:
            file.write(bytes(4096))
        _theirs(mark, name).touch()
    except OSError as error:
        return f"storage: {mark.parent} cannot be written there ({error.strerror}). Give its user the right to."
    return ""


def _code(code: Code, shipped: str) -> str:
    """Import the trainable, and have it load its data, in a process of its own as trials do."""
    launcher = zygote(code.moved(shipped, os.getcwd()) if shipped else code, 1, None)
    try:
        message = launcher.news(ANSWER_SECONDS - 5)
    finally:
        launcher.close()
    if message is None:
        return f"trainable: is not imported within {ANSWER_SECONDS - 5:.0f} s there. See what its import does."
    if message["event"] != "failed":
        return ""
    last = (message.get("error") or "").strip().splitlines()[-1:]
    told = f" ({last[0]})" if last and last[0] not in message["reason"] else ""
    return f"trainable: {message['reason']}{told}"


def _appears(file: Path) -> bool:
    """Tell whether a file that another machine has made is seen here; over a network that may take a moment."""
    deadline = time.monotonic() + SHARE_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
        with suppress(OSError):
            list(file.parent.iterdir())  # a network's file system may look again for this
    return True


def _theirs(mark: Path, name: str) -> Path:
    return mark.with_name(f"{mark.name}-{name[:12]}")


def _unshared(folder: Path) -> str:
    return (
        f"storage: {folder} must be a folder that all machines share, but is not the same there. Mount one on each and "
        "name it as storage, or give a URL (s3://bucket/runs)."
    )
