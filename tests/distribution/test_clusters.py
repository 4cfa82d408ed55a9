"""The check of TF_CONFIG: what is wrong is named, all at once, and what is right means what TensorFlow reads."""

import json

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as draw

from kmtl.distribution import Cluster, check_cluster

TWO = {"worker": ["a:2222", "b:2222"]}
FIRST = {"type": "worker", "index": 0}


def config(cluster=TWO, task=FIRST, **others):
    """A TF_CONFIG; an argument of None leaves its part out."""
    parts = {"cluster": cluster, "task": task, **others}
    return {name: part for name, part in parts.items() if part is not None}


def workers(*addresses):
    return config({"worker": list(addresses)})


WRONG = {
    "no JSON": ("{'cluster': 1}", ["`TF_CONFIG` must be JSON", "{'cluster': 1}", "line 1 column 2"]),
    "a JSON list": ("[1, 2]", ["must be an object with 'cluster' and 'task'", "[1, 2]"]),
    "no cluster": (config(None), ["`cluster` must be an object", "got nothing"]),
    "misspelled cluster": (config(None, clusters=TWO), ["`cluster` must be an object", "Did you mean 'clusters'?"]),
    "empty cluster": (config({}), ["`cluster` must be an object that is not empty", "{}"]),
    "no task": (config(task=None), ["`task` must be an object", "got nothing"]),
    "no type": (config(task={"index": 0}), ["`task.type` must say what this process is"]),
    "no index": (config(task={"type": "worker"}), ["`task.index` must say which one", "from 0"]),
    "index out of range": (config(task={"type": "worker", "index": 2}), ["`task.index` must be from 0 to 1", "got 2"]),
    "negative index": (config(task={"type": "worker", "index": -1}), ["`task.index` must be from 0 to 1", "got -1"]),
    "index as text": (config(task={"type": "worker", "index": "0"}), ["`task.index` must be a whole number", "'0'"]),
    "index as bool": (config(task={"type": "worker", "index": True}), ["`task.index` must be a whole number", "True"]),
    "index as fraction": (config(task={"type": "worker", "index": 0.5}), ["`task.index` must be a whole", "0.5"]),
    "unknown job": (config({**TWO, "wroker": ["c:1"]}), ["`cluster.wroker` is not a job", "Did you mean 'worker'?"]),
    "unknown type": (config(task={"type": "wrker", "index": 0}), ["`task.type` is not a job", "'wrker'", "'worker'?"]),
    "parameter servers": (config({**TWO, "ps": ["c:2222"]}), ["`cluster.ps` is not a job", "Parameter servers"]),
    "type of no job": (config(task={"type": "chief", "index": 0}), ["`task.type` must be a job of the", "has worker"]),
    "two chiefs": (config({"chief": ["a:1", "b:1"], **TWO}), ["`cluster.chief` must be one address", "'b:1'"]),
    "an evaluator": (config({**TWO, "evaluator": ["c:1"]}), ["`cluster.evaluator` is not a job", "evaluates"]),
    "one address twice": (
        workers("a:2222", "A:2222"),
        ["`cluster.worker[1]` must be an address of its own", "worker[0]"],
    ),
    "one machine twice": (workers("localhost:1", "127.0.0.1:1"), ["`cluster.worker[1]` must be an address of its own"]),
    "chief among workers": (
        config({"chief": ["a:2222"], **TWO}),
        ["`cluster.worker[0]` must be an address of its own"],
    ),
    "port in letters": (workers("a:http"), ["`cluster.worker[0]` must end in a port number", "'a:http'"]),
    "port missing": (workers("a:"), ["`cluster.worker[0]` must end in a port number", "'a:'"]),
    "port too high": (workers("a:65536"), ["`cluster.worker[0]` must have a port from 1 to 65535", "65536"]),
    "port zero": (workers("a:0"), ["`cluster.worker[0]` must have a port from 1 to 65535", "'a:0'"]),
    "no port": (workers("a:1", "b"), ["`cluster.worker[1]` must be 'host:port'", "'b'. Add the port."]),
    "no host": (workers(":2222"), ["`cluster.worker[0]` must name a host", "':2222'"]),
    "a scheme": (workers("grpc://a:2222"), ["`cluster.worker[0]` must be 'host:port'", "scheme"]),
    "a space": (workers("a :2222"), ["`cluster.worker[0]` must be 'host:port'", "spaces"]),
    "bare IPv6": (workers("fe80::1:2222"), ["`cluster.worker[0]` must be 'host:port'", "brackets"]),
    "an address of numbers": (workers(2222), ["`cluster.worker[0]` must be a string", "2222"]),
    "no workers": (config({"worker": []}), ["`cluster.worker` must be a list of at least one", "[]"]),
    "workers as text": (config({"worker": "a:2222"}), ["`cluster.worker` must be a list", "'a:2222'"]),
    "local among others": (workers("localhost:1", "b:1"), ["must not mix", "worker[0]", "Other machines cannot reach"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_configs_are_refused_with_the_offender_named(kind, monkeypatch):
    given_config, expected = WRONG[kind]
    text = given_config if isinstance(given_config, str) else json.dumps(given_config)
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=r"^TF_CONFIG: ") as refused:
        check_cluster()
    for part in expected:
        assert part in str(refused.value)
    # One offender, one line: nothing else is blamed.
    assert str(refused.value).count("TF_CONFIG: `") == 1


def test_all_offenders_are_told_at_once():
    with pytest.raises(ValueError, match=r"^TF_CONFIG") as refused:
        check_cluster(config({"worker": ["a", "b:x", "b:1", "b:1"], "ps": ["c:1"]}, {"type": "worker", "index": "1"}))
    messages = str(refused.value).splitlines()
    for part in ("worker[0]", "worker[1]", "worker[3]", "cluster.ps", "task.index"):
        assert sum(part in message.partition(" must")[0].partition(" is")[0] for message in messages) == 1
    assert len(messages) == 5


@pytest.mark.parametrize("text", [None, "", " "])
def test_nothing_set_is_refused(text, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="must be set on every worker, got nothing"):
        check_cluster()


@given(draw.booleans(), draw.integers(1, 5), draw.data())
def test_a_cluster_means_what_tensorflow_reads(has_chief, number, data):
    rank = data.draw(draw.integers(0, number - 1))
    made = Cluster(tuple(f"host{i}:{2000 + i}" for i in range(number)), rank, has_chief)
    assert check_cluster(made.config) == check_cluster(json.dumps(made.config)) == made
    spec = tf.train.ClusterSpec(made.jobs)
    for place, address in enumerate(made.addresses):
        assert spec.task_address(*made.task(place)) == address
    assert made.port == 2000 + rank
    assert made.peers == [place for place in range(number) if place != rank]


def test_a_chief_is_rank_zero():
    cluster = check_cluster(config({"worker": ["b:1", "c:1"], "chief": ["a:1"]}, {"type": "worker", "index": 1}))
    assert (cluster.rank, cluster.addresses) == (2, ("a:1", "b:1", "c:1"))
    assert [cluster.name(rank) for rank in range(3)] == ["chief 0 (a:1)", "worker 0 (b:1)", "worker 1 (c:1)"]
