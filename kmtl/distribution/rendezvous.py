"""All workers meet before TensorFlow starts.

TensorFlow's first worker waits an hour for an absent one, holds Python's lock meanwhile and names nobody. So all
first meet on the very ports that TensorFlow will use, by plain sockets and lines of JSON:

1. each calls every other one; both prove that they know the cluster's token before they say anything else;
2. each says who it is and what it runs, and hears the same from the other;
3. each that has heard all others says `ready`, and leaves when all others have said so.

Whoever finds a fault tells the others before it leaves. Who proves nothing is no worker: he is told nothing, and the
meeting goes on without him.
"""

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kmtl._checks import printable
from kmtl.distribution import json_sockets, shared_token
from kmtl.distribution.clusters import Cluster

_PAUSE = 0.25
_SILENT = "takes the call but does not answer: its process stands still, or another program listens there"
_STRANGER = "is another program, or a worker that trains already: then restart all workers"
_OTHER_TOKEN = f"has another {shared_token.VARIABLE} than this worker, or one of the two has none: give all workers one"
# Calls that may be open at once besides those of the workers.
_SPARE_CALLS = 64


def meet(cluster: Cluster, facts: Mapping[str, str], timeout: float, token: str | None = None) -> None:
    """Returns when all workers of a cluster have met, or tells what is wrong.

    Only the cluster's own address of this worker is opened, where it is one of this machine's.

    Args:
        cluster: The workers, and which one this is.
        facts: What must be the same everywhere, besides the cluster: name and value.
        timeout: Seconds until absent workers are given up.
        token: What all workers of the cluster know and nobody else; None reads the environment variable
            `KMTL_CLUSTER_TOKEN`. Empty, everyone who reaches the port and speaks as a worker is taken for one.

    Raises:
        OSError: If this worker's port cannot be opened on this machine.
        TimeoutError: If not all are there in time; names who is missing, why, and who is here.
        RuntimeError: If two processes are the same worker, facts differ, an address leads to another worker, or
            another worker gave up.

    >>> meet(Cluster(("localhost:28657",), rank=0), {}, timeout=1.0)
    """
    arguments = (cluster, facts, timeout, shared_token.token() if token is None else token)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_meet(*arguments))
    # A notebook runs a loop of its own in this thread.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _meet(*arguments)).result()


async def _meet(cluster: Cluster, facts: Mapping[str, str], timeout: float, token: str) -> None:
    await _Meeting(cluster, facts, token).run(timeout)


class _Meeting:
    """One worker's part in a meeting.

    Args:
        cluster: The workers.
        facts: What must be the same everywhere.
        token: What all workers know.
    """

    def __init__(self, cluster: Cluster, facts: Mapping[str, str], token: str) -> None:
        self.cluster = cluster
        self.token = token
        self.facts = {"cluster": json.dumps(cluster.jobs), **facts}
        self.process = uuid.uuid4().hex
        self.states = dict.fromkeys(cluster.peers, "has not been reached")
        self.calls: dict[int, asyncio.StreamWriter] = {}
        self.answers: set[asyncio.Future[Any]] = set()
        self.callers: dict[int, Any] = {}
        self.ready: set[int] = set()
        self.all_ready = asyncio.Event()
        self.trouble: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # What the others are told: a fault goes on in the words of its finder.
        self.reason = ""

    async def run(self, timeout: float) -> None:
        """Meets, and closes every socket."""
        own = self.cluster.rank
        listeners = json_sockets.listeners(self.cluster.addresses[own], self.cluster.name(own))
        loop = asyncio.get_running_loop()
        for listener in listeners:
            loop.add_reader(listener, self._accept, listener)
        calling = asyncio.ensure_future(self._call_all())
        try:
            ends: set[asyncio.Future[Any]] = {calling, self.trouble}
            await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if self.trouble.done():
                raise RuntimeError(self.trouble.result())
            if not calling.done():
                self.reason = self._absent(timeout)
                raise TimeoutError(self.reason)
            calling.result()
        finally:
            for listener in listeners:
                loop.remove_reader(listener)
                listener.close()
            if self.reason:
                self._tell({"kind": "failed", "reason": self.reason})
            await self._hang_up(calling)

    async def _call_all(self) -> None:
        """Both phases, from the caller's side."""
        await asyncio.gather(*(self._call(rank) for rank in self.cluster.peers))
        self._tell({"kind": "ready"})
        if self.cluster.peers:
            await self.all_ready.wait()

    async def _call(self, rank: int) -> None:
        """Calls one worker until it answers as one."""
        answer: dict[str, Any] = {}
        while not answer:
            try:
                answer = await self._try(rank)
            except (OSError, TimeoutError) as error:
                self.states[rank] = json_sockets.error_message(error)
            await asyncio.sleep(0 if answer else _PAUSE)
        self.states[rank] = ""
        name = self.cluster.name(rank)
        if answer.get("process") == self.process:
            self._fail(f"The address of {name} leads back to this process. {self._who_is_who()}")
        elif answer.get("rank") != rank:
            other = self._name(answer.get("rank"))
            self._fail(f"The address of {name} was answered by {other}. {self._who_is_who()}")
        else:
            self._compare(rank, answer)

    async def _try(self, rank: int) -> dict[str, Any]:
        """One call; an empty dict if nobody answered it as a worker."""
        reader, writer = await json_sockets.connect(self.cluster.addresses[rank])
        self.calls[rank] = writer
        own = shared_token.new_nonce()
        json_sockets.write_line(writer, {"kind": "call", "nonce": own})
        self.states[rank] = _SILENT
        challenge = await json_sockets.read_line(reader)
        nonces = (own, challenge.get("nonce"))
        # A socket that has called its own port hears its own call, which is no challenge.
        if challenge.get("kind") != "challenge":
            self.states[rank] = _STRANGER
        elif not shared_token.is_proof(challenge.get("proof"), self.token, "challenge", *nonces):
            self.states[rank] = _OTHER_TOKEN
        else:
            json_sockets.write_line(writer, self._card("hello", *nonces))
            answer = await json_sockets.read_line(reader)
            if self._is_proved(answer, "answer", *nonces):
                return answer
            self.states[rank] = _STRANGER
        await json_sockets.close(writer)
        return {}

    def _accept(self, listener: socket.socket) -> None:
        """Takes one call. Not asyncio's own server, which leaves calls open that come while it closes."""
        with contextlib.suppress(OSError):
            caller = listener.accept()[0]
            if len(self.answers) >= len(self.cluster.addresses) + _SPARE_CALLS:
                caller.close()
                return
            answer = asyncio.ensure_future(self._answer(caller))
            self.answers.add(answer)
            answer.add_done_callback(self.answers.discard)

    async def _answer(self, caller: socket.socket) -> None:
        """Answers one caller, and hears how the meeting goes for it."""
        reader, writer = await json_sockets.streams_of(caller)
        try:
            hello = await self._greeted(reader, writer)
            # Other callers, such as a cluster's probes of open ports, are no matter.
            if hello.get("process", self.process) != self.process and self._admit(hello["rank"], hello, writer):
                self._hear(hello["rank"], await json_sockets.read_line(reader))
        finally:
            await json_sockets.close(writer)

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any]:
        """Answers a caller's hello, once both have proved that they know the token; an empty dict for a stranger."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(json_sockets.PATIENCE):
                call = await json_sockets.read_line(reader)
                if call.get("kind") != "call":
                    return {}
                nonces = (call.get("nonce"), shared_token.new_nonce())
                proof = shared_token.proof(self.token, "challenge", *nonces)
                json_sockets.write_line(writer, {"kind": "challenge", "nonce": nonces[1], "proof": proof})
                hello = await json_sockets.read_line(reader)
            if self._is_proved(hello, "hello", *nonces) and hello.get("rank") in range(len(self.cluster.addresses)):
                json_sockets.write_line(writer, self._card("answer", *nonces))
                return hello
        return {}

    def _admit(self, rank: int, hello: Mapping[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Whether a caller is who it may be."""
        process = hello.get("process")
        if rank == self.cluster.rank or self.callers.setdefault(rank, process) != process:
            place = (writer.get_extra_info("peername") or ["an unknown address"])[0]
            self._fail(f"Two processes are {self._name(rank)}, one of them at {place}. {self._who_is_who()}")
            return False
        return self._compare(rank, hello)

    def _hear(self, rank: int, word: Mapping[str, Any]) -> None:
        """Takes a caller's last word."""
        if word.get("kind") == "ready":
            self.ready.add(rank)
            if self.ready == set(self.cluster.peers):
                self.all_ready.set()
        elif word.get("kind") == "failed":
            reason = str(word.get("reason"))
            self._fail(f"{self._name(rank)} stopped the start. {reason}", reason)
        else:
            self._fail(f"{self._name(rank)} left before all workers had met. Its own output says why.")

    def _compare(self, rank: int, card: Mapping[str, Any]) -> bool:
        """Whether a worker runs what this one runs."""
        theirs = card["facts"] if isinstance(card.get("facts"), dict) else {}
        names = [name for name in {**self.facts, **theirs} if theirs.get(name) != self.facts.get(name)]
        if names:
            differences = "; ".join(f"{name}: {theirs.get(name)} there, {self.facts.get(name)} here" for name in names)
            pair = f"{self._name(rank)} does not match {self._name(self.cluster.rank)}"
            fix = "Give all workers one environment, and one TF_CONFIG that differs by the task alone."
            self._fail(f"{pair}: {differences}. {fix}")
        return not names

    def _fail(self, message: str, reason: str = "") -> None:
        """Ends the meeting; the first fault is the one that is told."""
        if not self.trouble.done():
            self.reason = printable(reason or message)
            self.trouble.set_result(printable(message))

    def _tell(self, word: Mapping[str, Any]) -> None:
        """Says a word to all that were reached."""
        for writer in self.calls.values():
            json_sockets.write_line(writer, word)

    async def _hang_up(self, calling: asyncio.Future[Any]) -> None:
        """Ends all that goes on, and closes every call once what was said has left."""
        tasks = [calling, *self.answers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(json_sockets.close(writer) for writer in self.calls.values()))

    def _card(self, kind: str, *nonces: Any) -> dict[str, Any]:
        """Who this worker is and what it runs, with the proof that a worker says it now."""
        card = {"kind": kind, "rank": self.cluster.rank, "process": self.process, "facts": self.facts}
        return {**card, "proof": shared_token.proof(self.token, card, *nonces)}

    def _is_proved(self, card: Mapping[str, Any], kind: str, *nonces: Any) -> bool:
        """Whether a card is of a kind and comes from a worker."""
        said = {name: value for name, value in card.items() if name != "proof"}
        return card.get("kind") == kind and shared_token.is_proof(card.get("proof"), self.token, said, *nonces)

    def _name(self, rank: Any) -> str:
        """The name of a rank that came from outside."""
        known = rank in range(len(self.cluster.addresses))
        return self.cluster.name(rank) if known else f"a worker that calls itself {rank!r}"

    def _who_is_who(self) -> str:
        """What to compare."""
        return f"This process is {self.cluster.name(self.cluster.rank)}: check `task.index` of every TF_CONFIG."

    def _absent(self, timeout: float) -> str:
        """Who is missing and why, and who is here."""
        own = self.cluster.name(self.cluster.rank)
        missing = [f"{self.cluster.name(rank)} {state}" for rank, state in self.states.items() if state]
        waiting = ", ".join(self.cluster.name(rank) for rank in self.cluster.peers if rank not in self.ready)
        here = [own, *(self.cluster.name(rank) for rank, state in self.states.items() if not state)]
        return (
            f"Only {len(here)} of {len(self.cluster.addresses)} workers met within {timeout:g} s, as {own} sees it. "
            f"Missing: {'; '.join(missing) or f'one that {waiting} cannot reach'}. Here: {', '.join(here)}. "
            "Start all workers at about the same time, open their ports to each other, or give a longer `timeout`."
        )
