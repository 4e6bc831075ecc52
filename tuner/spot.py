"""Heed a cloud's warning that it will take this machine back: tell Ray, so that nothing new begins here.

`python -m tuner.spot aws` (or `gcp`) runs beside Ray on each worker; the files in `cluster/` start it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

AWS, GCP = "http://169.254.169.254", "http://metadata.google.internal"
GCP_PREEMPTED, GCP_MAINTENANCE = 30, 3600
"""Seconds of notice that Google Cloud gives, at most: for a spot machine, and for maintenance of one with GPUs."""


class Warned(NamedTuple):
    """What the cloud is about to do, and in how many seconds."""

    what: str
    seconds: int


def aws(service: str) -> Warned | None:
    """Ask AWS (IMDSv2) for an interruption of this spot machine; raises OSError where it does not answer."""
    session = _ask(f"{service}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
    told = _ask(f"{service}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": session or ""})
    if told is None:
        return None
    action = json.loads(told)
    left = datetime.fromisoformat(action["time"]) - datetime.now(UTC)
    return Warned(f"AWS will {action['action']} this spot machine", max(0, int(left.total_seconds())))


def gcp(service: str) -> Warned | None:
    """Ask Google Cloud for what will end this machine soon; raises OSError where it does not answer."""
    instance, flavor = f"{service}/computeMetadata/v1/instance", {"Metadata-Flavor": "Google"}
    if _ask(f"{instance}/preempted", flavor) == "TRUE":
        return Warned("Google Cloud preempts this spot machine", GCP_PREEMPTED)
    if (_ask(f"{instance}/maintenance-event", flavor) or "").startswith("TERMINATE"):
        return Warned("Google Cloud stops this machine for maintenance", GCP_MAINTENANCE)
    return None


CLOUDS: dict[str, tuple[Callable[[str], Warned | None], str]] = {"aws": (aws, AWS), "gcp": (gcp, GCP)}
"""Who is asked, and where, in each cloud."""


def _ask(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """Ask the machine's metadata service; None where it knows of nothing."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method), timeout=5) as answer:
            return str(answer.read().decode()).strip()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


DRAIN_SECONDS = 20.0
"""So long Ray may take to hear of it before it is told again."""


def drain(warned: Warned, node: str | None = None) -> str:
    """Tell Ray that a node (this one by default) will be gone; returns why it could not be told, or nothing."""
    words = [
        sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message", warned.what, "--deadline-remaining-seconds", str(warned.seconds),
        *(("--node-id", node) if node else ()),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=DRAIN_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {DRAIN_SECONDS:g} s"
    return (done.stdout.strip() or f"exit {done.returncode}") if done.returncode else ""


def watch(look: Callable[[], Warned | None], every: float) -> Warned:
    """Look until there is a warning; a service that does not answer is said once, and asked again."""
    silent = ""
    while True:
        try:
            if warned := look():
                return warned
            silent = ""
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            if str(error) != silent:
                silent = str(error)
                print(f"the metadata service does not answer: {silent}", flush=True)
        time.sleep(every)


def main(arguments: Sequence[str] | None = None) -> int:
    """Wait for the warning, tell Ray until it has heard, and end."""
    parser = argparse.ArgumentParser(prog="python -m tuner.spot", description=__doc__)
    parser.add_argument("cloud", choices=CLOUDS)
    parser.add_argument("--every", type=float, default=2, metavar="SECONDS", help="how often to look; 2 by default")
    parser.add_argument("--service", metavar="URL", help="another metadata service than the cloud's own")
    parser.add_argument("--node-id", help="the node to drain, in hex; by default that of this machine")
    flags = parser.parse_args(arguments)
    look, service = CLOUDS[flags.cloud]
    warned = watch(lambda: look(flags.service or service), flags.every)
    gone = time.monotonic() + warned.seconds
    while True:
        left = max(0, int(gone - time.monotonic()))
        print(f"{warned.what} in {left} s", flush=True)
        if not (failed := drain(Warned(warned.what, left), flags.node_id)):
            print("Ray drains this node", flush=True)
            return 0
        print(f"Ray was not told: {failed}", flush=True)
        time.sleep(flags.every)


if __name__ == "__main__":
    raise SystemExit(main())
