"""Workers meet over real sockets; each is a thread here, since a meeting needs no TensorFlow."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kmtl.distribution import shared_token
from kmtl.distribution.clusters import Cluster
from kmtl.distribution.json_sockets import listeners
from kmtl.distribution.launching import free_ports
from kmtl.distribution.rendezvous import meet

LIMIT = 20.0


@pytest.fixture
def addresses():
    return tuple(f"localhost:{port}" for port in free_ports(3))


def outcome(cluster, facts, timeout):
    """What a meeting ended with, and after how long."""
    begin = time.monotonic()
    try:
        meet(cluster, facts, timeout)
    except (OSError, RuntimeError) as error:
        return error, time.monotonic() - begin
    return None, time.monotonic() - begin


def meetings(*arguments):
    """Outcomes of several meetings at once."""
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(lambda given: outcome(*given), arguments))


def call(address, *words):
    """A socket that has called a worker, once that listens, and said some words."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + LIMIT
    while True:
        try:
            made = socket.create_connection((host, int(port)), timeout=LIMIT)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.01)
    for word in words:
        made.sendall(word if isinstance(word, bytes) else json.dumps(word).encode() + b"\n")
    return made


def said(caller, word):
    """What a worker answers to a word; nothing if it hangs up."""
    caller.sendall(json.dumps(word).encode() + b"\n")
    answer = caller.makefile().readline()
    return json.loads(answer) if answer else {}


def introduced(address, card, token=""):
    """A socket that has called a worker and proved to be one, and the worker's answer."""
    caller = call(address)
    challenge = said(caller, {"kind": "call", "nonce": "mine"})
    proof = shared_token.proof(token, card, "mine", challenge["nonce"])
    return caller, said(caller, {**card, "proof": proof})


def hello(cluster, process="another", **facts):
    facts = {"cluster": json.dumps(cluster.jobs), **facts}
    return {"kind": "hello", "rank": cluster.rank, "process": process, "facts": facts}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_all_meet(addresses, number):
    clusters = [Cluster(addresses[:number], rank) for rank in range(number)]
    results = meetings(*((cluster, {"keras": "3"}, LIMIT) for cluster in clusters))
    assert [error for error, _ in results] == [None] * number
    # Their ports are free again at once, for TensorFlow.
    for cluster in clusters:
        socket.create_server(("", cluster.port)).close()


def test_none_leaves_before_the_last_has_come(addresses):
    clusters = [Cluster(addresses, rank) for rank in range(3)]
    with ThreadPoolExecutor(3) as pool:
        early = [pool.submit(outcome, cluster, {}, LIMIT) for cluster in clusters[:2]]
        with call(addresses[0], b"\n"), call(addresses[1], b"\n"):
            assert not any(future.done() for future in early)
        last = pool.submit(outcome, clusters[2], {}, LIMIT)
        assert [future.result()[0] for future in (*early, last)] == [None] * 3


def test_a_missing_worker_is_named_with_the_reason_and_those_who_are_here(addresses):
    first, second = meetings((Cluster(addresses, 0), {}, 2.0), (Cluster(addresses, 1), {}, LIMIT))
    error, seconds = first
    assert isinstance(error, TimeoutError)
    assert "Only 2 of 3 workers met within 2 s" in str(error)
    missing, _, here = str(error).partition("Here:")
    assert f"worker 2 ({addresses[2]}) refuses the call" in missing
    assert f"worker 1 ({addresses[1]})" in here
    assert 2.0 <= seconds < 10.0
    # The one with the longer limit is told, and does not wait for its own.
    error, seconds = second
    assert isinstance(error, RuntimeError)
    assert f"worker 0 ({addresses[0]}) stopped the start. Only 2 of 3 workers met" in str(error)
    assert seconds < 10.0


def test_a_host_that_does_not_exist_is_named(addresses):
    error, _ = outcome(Cluster((addresses[0], "no-such-host.invalid:2222"), 0), {}, 1.5)
    assert isinstance(error, TimeoutError)
    assert "worker 1 (no-such-host.invalid:2222) has a host name that is not known here" in str(error)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x12\x04\n", None])
def test_another_program_at_a_workers_address_is_told(addresses, reply):
    _, _, port = addresses[1].rpartition(":")
    with socket.create_server(("", int(port))) as server:

        def serve():
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                if reply:
                    caller.sendall(reply)
                    caller.close()
                else:
                    silent.append(caller)

        silent: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        error, _ = outcome(Cluster(addresses[:2], 0), {}, 1.5)
        server.shutdown(socket.SHUT_RDWR)
    for caller in silent:
        caller.close()
    assert isinstance(error, TimeoutError)
    expected = "is another program, or a worker that trains already" if reply else "takes the call but does not answer"
    assert f"worker 1 ({addresses[1]}) {expected}" in str(error)


def test_a_port_that_is_taken_is_told_at_once(addresses):
    cluster = Cluster(addresses, 1)
    with socket.create_server(("", cluster.port)):
        error, seconds = outcome(cluster, {}, LIMIT)
    assert isinstance(error, OSError)
    assert not isinstance(error, TimeoutError)
    assert f"Port {cluster.port} of worker 1 ({addresses[1]}) cannot be opened" in str(error)
    assert "Address already in use" in str(error)
    assert seconds < 5.0


def test_one_index_twice_on_one_machine_is_told(addresses):
    same = Cluster(addresses[:2], 1)
    results = meetings((same, {}, 3.0), (same, {}, 3.0))
    kinds = {type(error) for error, _ in results}
    assert kinds == {OSError, TimeoutError}


def test_one_index_twice_on_two_machines_is_told(addresses):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(outcome, Cluster(addresses, 0), {}, LIMIT)
        other = Cluster(addresses, 1)
        with introduced(addresses[0], hello(other, "one"))[0], introduced(addresses[0], hello(other, "two"))[0]:
            error, _ = waiting.result()
    assert isinstance(error, RuntimeError)
    assert f"Two processes are worker 1 ({addresses[1]})" in str(error)


def test_another_process_with_the_own_index_is_told(addresses):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(outcome, Cluster(addresses, 0), {}, LIMIT)
        with introduced(addresses[0], hello(Cluster(addresses, 0)))[0]:
            error, _ = waiting.result()
    assert isinstance(error, RuntimeError)
    assert f"Two processes are worker 0 ({addresses[0]})" in str(error)


def test_an_address_that_leads_to_another_worker_is_told_on_both(addresses):
    # The lists of hosts are swapped on one side, as on a machine that has another rank than it says.
    swapped = (addresses[1], addresses[0])
    error, seconds = outcome(Cluster((f"127.0.0.1:{addresses[0].rpartition(':')[2]}", addresses[0]), 0), {}, LIMIT)
    assert "leads back to this process" in str(error)
    assert seconds < 5.0
    results = meetings((Cluster(addresses[:2], 0), {}, LIMIT), (Cluster(swapped, 0), {}, LIMIT))
    for error, seconds in results:
        assert isinstance(error, RuntimeError)
        assert "worker 0" in str(error)
        assert seconds < 5.0


def test_workers_that_run_different_things_are_told_apart_on_both(addresses):
    facts = [{"keras": "3.15", "python": "3.11"}, {"keras": "3.14", "python": "3.11"}]
    results = meetings(*((Cluster(addresses[:2], rank), facts[rank], LIMIT) for rank in range(2)))
    for rank, (error, seconds) in enumerate(results):
        assert isinstance(error, RuntimeError)
        assert f"worker {1 - rank} ({addresses[1 - rank]}) does not match worker {rank} ({addresses[rank]})" in str(
            error
        )
        assert f"keras: {facts[1 - rank]['keras']} there, {facts[rank]['keras']} here" in str(error)
        assert "python" not in str(error)
        assert seconds < 10.0


def test_workers_with_different_clusters_are_told_apart_on_both(addresses):
    results = meetings((Cluster(addresses[:2], 0), {}, LIMIT), (Cluster(addresses, 1), {}, LIMIT))
    for error, _ in results:
        assert isinstance(error, RuntimeError)
        assert "does not match" in str(error)
        assert addresses[2] in str(error)
        assert "one TF_CONFIG that differs by the task alone" in str(error)


def test_a_worker_that_leaves_early_stops_the_others(addresses):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(outcome, Cluster(addresses, 0), {}, LIMIT)
        introduced(addresses[0], hello(Cluster(addresses, 1)))[0].close()
        error, seconds = waiting.result()
    assert isinstance(error, RuntimeError)
    assert f"worker 1 ({addresses[1]}) left before all workers had met" in str(error)
    assert seconds < 5.0


def test_strangers_at_the_port_are_no_matter(addresses):
    pair = addresses[:2]
    deep = b'{"kind": ' + b"[" * 5000 + b"]" * 5000 + b"}\n"
    wide = json.dumps({"kind": "call", "nonce": {"a": {"b": 1}}}).encode() + b"\n"
    endless = b"[" * 2**21
    known = json.dumps(hello(Cluster(pair, 1), "stranger")).encode() + b"\n"
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(outcome, Cluster(pair, 0), {}, LIMIT)
        for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b"\xff\xfe\n", deep, wide, known, endless):
            with contextlib.suppress(OSError):
                call(pair[0], noise).close()
        last = pool.submit(outcome, Cluster(pair, 1), {}, LIMIT)
        assert waiting.result()[0] is None
        assert last.result()[0] is None


def test_who_does_not_know_the_token_is_told_nothing_and_stops_nothing(addresses):
    """He knows the cluster, says that he is its worker 1, its worker 7, and worker 0 itself."""
    pair, token = addresses[:2], "of this cluster"
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(meet, Cluster(pair, 0), {}, LIMIT, token)
        for rank in (0, 1, 7):
            card = {**hello(Cluster(pair, 0), "stranger"), "rank": rank}
            for guess in ("", "another"):
                caller, answer = introduced(pair[0], card, guess)
                caller.close()
                assert answer == {}
        caller, answer = introduced(pair[0], {**hello(Cluster(pair, 1)), "rank": 7}, token)
        caller.close()
        assert answer == {}
        caller = call(pair[0])
        challenge = said(caller, {"kind": "call", "nonce": "mine"})
        caller.close()
        assert set(challenge) == {"kind", "nonce", "proof"}
        pool.submit(meet, Cluster(pair, 1), {}, LIMIT, token).result()
        waiting.result()


def test_workers_with_different_tokens_are_told(addresses, monkeypatch):
    monkeypatch.setenv("KMTL_CLUSTER_TOKEN", "one")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(meet, Cluster(addresses[:2], 1), {}, 4.0, "another")
        error, _ = outcome(Cluster(addresses[:2], 0), {}, 1.0)
        with pytest.raises(TimeoutError):
            waiting.result()
    assert f"worker 1 ({addresses[1]}) has another KMTL_CLUSTER_TOKEN than this worker" in str(error)


def test_what_a_worker_says_does_nothing_to_the_screen(addresses):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(outcome, Cluster(addresses[:2], 0), {}, LIMIT)
        with introduced(addresses[0], hello(Cluster(addresses[:2], 1), keras="\x1b[2J"))[0]:
            error, _ = waiting.result()
    assert r"keras: \x1b[2J there" in str(error)


def test_only_the_own_address_of_the_cluster_is_opened():
    port = free_ports(1)[0]
    found = listeners(f"127.0.0.1:{port}", "worker 0")
    assert [one.getsockname() for one in found] == [("127.0.0.1", port)]
    for address in ("localhost", "no-such-host.invalid", "192.0.2.1"):
        for one in found:
            one.close()
        found = listeners(f"{address}:{port}", "worker 0")
        hosts = {one.getsockname()[0] for one in found}
        # A name that tells nothing, or another machine's address, leaves all of them.
        assert hosts <= ({"127.0.0.1", "::1"} if address == "localhost" else {"::", "0.0.0.0"})
        assert hosts
    for one in found:
        one.close()


def test_a_meeting_within_a_running_loop(addresses):
    async def notebook():
        meet(Cluster(addresses[:1], 0), {}, LIMIT)

    asyncio.run(notebook())
