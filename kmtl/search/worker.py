"""A worker's line to its chief."""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from kmtl import _extras
from kmtl.search import _keras_tuner_private
from kmtl.search.chief import FULL, METHOD, MOST_WORKERS, PULSE, SERVICE, WELCOME
from kmtl.search.roles import Role

_OWNER = "weights"


@contextlib.contextmanager
def join(role: Role) -> Iterator[None]:
    """Joins the chief, and says each second that one is there.

    Raises:
        RuntimeError: If the chief does not answer in time, is none, or knows another worker of the name; if it ends
            while the worker needs it.
    """
    grpc = _extras.load("grpc", _OWNER)
    ended, who = threading.Event(), json.dumps({"name": role.name, "token": uuid.uuid4().hex}).encode()
    with grpc.insecure_channel(role.address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/{METHOD}")
        _introduce(grpc, call, who, role)
        thread = threading.Thread(target=_say_here, args=(grpc, call, who, ended), daemon=True)
        thread.start()
        try:
            with _keras_tuner_private.patience_of_workers(role.limits.wait):
                yield
        except grpc.RpcError as error:
            raise RuntimeError(_chief_gone(role, error)) from error
        finally:
            ended.set()
            thread.join()


def _introduce(grpc: Any, call: Any, who: bytes, role: Role) -> None:
    """Says for the first time that one is there, until the chief has heard it."""
    end, answer = time.monotonic() + role.limits.wait, b""
    while answer != WELCOME:
        left = end - time.monotonic()
        if left <= 0:
            raise RuntimeError(_refusal(role, "knows another worker of this name, which is there. Choose another name"))
        try:
            # A chief that is not up yet is waited for.
            answer = call(who, timeout=left, wait_for_ready=True)
        except grpc.RpcError as error:
            what = f"does not answer within {role.limits.wait:g} s"
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                what = "is something else than a chief of kmtl.search"
            fix = "Start the chief, and see that its address and port are reached from here"
            raise RuntimeError(_refusal(role, f"{what}. {fix}")) from error
        if answer == FULL:
            why = f"takes {MOST_WORKERS} workers and no more, of short names. Start fewer, or a search of their own"
            raise RuntimeError(_refusal(role, why))
        if answer != WELCOME:
            time.sleep(min(PULSE, max(0.0, end - time.monotonic())))


def _refusal(role: Role, why: str) -> str:
    """Why a worker cannot take part."""
    return f"{_OWNER}: worker {role.name!r} cannot join: the chief at {role.address} {why}."


def _chief_gone(role: Role, error: Any) -> str:
    """What to do about a chief that went away."""
    return (
        f"{_OWNER}: the chief at {role.address} does not answer worker {role.name!r} any more "
        f"({error.code().name.lower()}). Start the chief again, then the workers: the search goes on where it was."
    )


def _say_here(grpc: Any, call: Any, who: bytes, ended: threading.Event) -> None:
    """Says each second that one is there."""
    while not ended.wait(PULSE):
        # The search itself finds out about a chief that is gone.
        with contextlib.suppress(grpc.RpcError):
            call(who, timeout=PULSE)
