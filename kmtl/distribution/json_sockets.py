"""Sockets that carry lines of JSON, and what their errors tell of the other side."""

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import Mapping
from typing import Any

LONGEST_LINE = 2**22
PATIENCE = 5.0


def listener(port: int, owner: str) -> socket.socket:
    """Opens a port on all of the machine's addresses, as TensorFlow will.

    Args:
        port: The port.
        owner: Whose it is, for the message.

    Raises:
        OSError: If it cannot be opened.
    """
    both = socket.has_dualstack_ipv6()
    try:
        made = socket.create_server(("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)
        made.setblocking(False)
        return made
    except OSError as error:
        message = (
            f"Port {port} of {owner} cannot be opened on this machine: {error.strerror}. Another worker with this "
            "index, the last run, or another program has it: end that, or change the port in every TF_CONFIG."
        )
        raise OSError(error.errno, message) from error


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a connection to `host:port`; a TimeoutError tells that nothing came back at all."""
    host, _, port = address.rpartition(":")
    # Not `wait_for`, which in Python 3.11 can swallow a cancellation.
    async with asyncio.timeout(PATIENCE):
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=LONGEST_LINE)


async def streams_of(caller: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Makes lines of a socket that was accepted."""
    return await asyncio.open_connection(sock=caller, limit=LONGEST_LINE)


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection once what was written has left; one that the other side cut is closed as well."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await writer.wait_closed()


def write_line(writer: asyncio.StreamWriter, word: Mapping[str, Any]) -> None:
    """Writes one line; a line that does not arrive is missed by its reader."""
    writer.write(json.dumps(word).encode() + b"\n")


async def read_line(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Reads one line; an empty dict if the line is cut, too long or no JSON object."""
    try:
        word = json.loads(await reader.readline())
    except (OSError, ValueError):
        return {}
    return word if isinstance(word, dict) else {}


def error_message(error: Exception) -> str:
    """What a failed call tells of the other side.

    >>> error_message(ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"))
    'refuses the call: its machine is up, but no worker listens there'
    """
    if isinstance(error, TimeoutError):
        return f"does not answer within {PATIENCE:g} s: the machine is off, or a firewall drops the call"
    if isinstance(error, socket.gaierror):
        return f"has a host name that is not known here ({error.strerror})"
    # asyncio puts the errors of a host's several addresses into one text.
    if f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "refuses the call: its machine is up, but no worker listens there"
    return f"cannot be reached ({error})"
