"""Sockets that carry lines of JSON, and what their errors tell of the other side."""

import asyncio
import contextlib
import errno
import ipaddress
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_LINE = 2**20
PATIENCE = 5.0
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def listeners(address: str, owner: str) -> list[socket.socket]:
    """Opens a port on what an address of this machine means here, and on no other network of the machine.

    A name that is not known here, stands for another machine's address (behind port forwarding), or for the loopback
    alone though it is no loopback's name (as Debian writes a machine's own name), tells nothing: then the port is
    opened on all addresses.

    Args:
        address: `host:port`.
        owner: Whose it is, for the message.

    Raises:
        OSError: If it cannot be opened.
    """
    host, _, port = address.rpartition(":")
    try:
        return _opened(_own_hosts(host.strip("[]")), int(port)) or [_open_everywhere(int(port))]
    except OSError as error:
        message = (
            f"Port {port} of {owner} cannot be opened on this machine: {error.strerror}. Another worker with this "
            "index, the last run, or another program has it: end that, or change the port in every TF_CONFIG."
        )
        raise OSError(error.errno, message) from error


def _own_hosts(host: str) -> list[str]:
    """Numeric addresses that a host of this machine can be called by, none if its name tells nothing."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return []
    loopback = {one for one in found if ipaddress.ip_address(one.partition("%")[0]).is_loopback}
    is_loopback = host == "localhost" or host in loopback
    return sorted(found if is_loopback else found - loopback)


def _opened(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """A listening socket on each address that this machine has."""
    made: list[socket.socket] = []
    try:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                made.append(_listening(host, port, family))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
    except OSError:
        for one in made:
            one.close()
        raise
    return made


def _open_everywhere(port: int) -> socket.socket:
    """A listening socket on all of the machine's addresses."""
    both = socket.has_dualstack_ipv6()
    return _listening("", port, socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)


def _listening(host: str, port: int, family: socket.AddressFamily, dualstack_ipv6: bool = False) -> socket.socket:
    """One socket that takes calls without waiting for them."""
    made = socket.create_server((host, port), family=family, dualstack_ipv6=dualstack_ipv6)
    made.setblocking(False)
    return made


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
    """Reads one line; an empty dict if the line is cut, too long, no JSON object, or deeper than workers write."""
    try:
        word = json.loads(await reader.readline())
    except (OSError, ValueError, RecursionError):
        return {}
    return word if isinstance(word, dict) and all(map(_is_flat, word.values())) else {}


def _is_flat(value: Any) -> bool:
    """Whether a value is a text, a whole number or a dict of texts."""
    if isinstance(value, dict):
        return all(isinstance(inner, str) for inner in value.values())
    return isinstance(value, str | int)


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
