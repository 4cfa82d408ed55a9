"""A worker's line to its chief.

KerasTuner's workers wait an hour for a chief that is not there; here they wait as long as they are told.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from kmtl import _extras
from kmtl.search.chief import METHOD, PULSE, SERVICE
from kmtl.search.roles import Role

_OWNER = "weights"


@contextlib.contextmanager
def joined(role: Role) -> Iterator[None]:
    """Joins the chief, and says each second that one is there.

    Raises:
        RuntimeError: If the chief does not answer in time, is none, or knows another worker of the name; if it ends
            while the worker needs it.
    """
    grpc = _extras.load("grpc", _OWNER)
    client: Any = _extras.load("keras_tuner.src.distribute.oracle_client", _OWNER)
    ended, told = threading.Event(), json.dumps({"name": role.name, "token": uuid.uuid4().hex}).encode()
    with grpc.insecure_channel(role.address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/{METHOD}")
        _join(grpc, call, told, role)
        thread = threading.Thread(target=_say_here, args=(grpc, call, told, ended), daemon=True)
        thread.start()
        before, client.TIMEOUT = client.TIMEOUT, role.limits.wait
        try:
            yield
        except grpc.RpcError as error:
            raise RuntimeError(_gone(role, error)) from error
        finally:
            client.TIMEOUT = before
            ended.set()
            thread.join()


def _join(grpc: Any, call: Any, told: bytes, role: Role) -> None:
    """Says for the first time that one is there, until the chief has heard it."""
    end, answer = time.monotonic() + role.limits.wait, b""
    while answer != b"welcome":
        left = end - time.monotonic()
        if left <= 0:
            raise RuntimeError(_refused(role, "knows another worker of this name, which is there. Choose another name"))
        try:
            # A chief that is not up yet is waited for.
            answer = call(told, timeout=left, wait_for_ready=True)
        except grpc.RpcError as error:
            what = f"does not answer within {role.limits.wait:g} s"
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                what = "is something else than a chief of kmtl.search"
            fix = "Start the chief, and see that its address and port are reached from here"
            raise RuntimeError(_refused(role, f"{what}. {fix}")) from error
        if answer != b"welcome":
            time.sleep(min(PULSE, max(0.0, end - time.monotonic())))


def _refused(role: Role, why: str) -> str:
    """Why a worker cannot take part."""
    return f"{_OWNER}: worker {role.name!r} cannot join: the chief at {role.address} {why}."


def _gone(role: Role, error: Any) -> str:
    """What to do about a chief that went away."""
    return (
        f"{_OWNER}: the chief at {role.address} does not answer worker {role.name!r} any more "
        f"({error.code().name.lower()}). Start the chief again, then the workers: the search goes on where it was."
    )


def _say_here(grpc: Any, call: Any, told: bytes, ended: threading.Event) -> None:
    """Says each second that one is there."""
    while not ended.wait(PULSE):
        # The search itself finds out about a chief that is gone.
        with contextlib.suppress(grpc.RpcError):
            call(told, timeout=PULSE)
