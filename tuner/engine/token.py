"""Ray's token: one password, which whoever has it runs any code with on a cluster, or on a local Ray."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

GIVEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Where a user may have a token of their own, which Ray then takes."""


def keep_private() -> None:
    """Have the token in the user's home readable by that user alone: Ray writes it as it writes any file.

    One is made where a Ray that is started would make it.
    """
    from ray._private.authentication import authentication_token_setup as setup

    path = setup._get_default_token_path()
    with suppress(OSError):  # Ray will say what is wrong with it, if it needs it
        if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token" and not any(map(os.environ.get, GIVEN)):
            _make(path, setup.generate_new_authentication_token())
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _make(path: Path, token: str) -> None:
    """Write it, whole and for this user alone, unless there is one."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # which is readable by its owner alone
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    with suppress(FileExistsError):
        os.link(name, path)
    os.unlink(name)


def send() -> None:
    """Send the token that this user has, if any: Ray itself does so only where it has found the cluster by itself."""
    from ray._private.authentication import authentication_token_setup as setup

    setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def is_asked_for(address: str) -> bool:
    """Tell whether the head of a cluster refuses who sends none; to one that does not, a driver that does is dead."""
    import grpc
    from ray.core.generated.gcs_service_pb2 import GetClusterIdRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    try:
        with grpc.insecure_channel(address) as channel:
            NodeInfoGcsServiceStub(channel).GetClusterId(GetClusterIdRequest(), timeout=5)
    except grpc.RpcError as error:
        return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False
