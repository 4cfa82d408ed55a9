"""The secret that workers of one cluster share, and how they show each other that they know it without telling it."""

import hashlib
import hmac
import json
import os
import secrets
from typing import Any

VARIABLE = "KMTL_CLUSTER_TOKEN"


def token() -> str:
    """Returns this process's token; the empty text if there is none."""
    return os.environ.get(VARIABLE, "")


def new_token() -> str:
    """Makes a token that nobody can guess."""
    return secrets.token_hex(32)


def new_nonce() -> str:
    """Makes a text that was never said before, so that a proof that was overheard proves nothing."""
    return secrets.token_hex(16)


def proof(token: str, *said: Any) -> str:
    """Returns what only a holder of the token can say of some words (HMAC-SHA256, RFC 2104).

    >>> proof("a", "hello", 1) == proof("a", "hello", 1), proof("a", "hello", 1) == proof("b", "hello", 1)
    (True, False)
    """
    return hmac.new(token.encode(), json.dumps(said, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def is_proof(given: Any, token: str, *said: Any) -> bool:
    """Whether a proof that came from outside holds, in a time that tells nothing of it."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(), proof(token, *said).encode())
