"""Which strategy is made, and what is refused before any is."""

import json
import re
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from kmtl.distribution import logical_devices, strategy

TWO = {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}
PARAMETER_SERVERS = {"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}
PROGRAM = """
import json
import tensorflow as tf
import kmtl.distribution as distribution

def refused(kind, call):
    try:
        call()
    except kind as error:
        return str(error)

names = distribution.logical_devices(2)
made = distribution.strategy("mirrored", bytes_per_pack=1000)
single = {"cluster": {"worker": ["localhost:28777"]}, "task": {"type": "worker", "index": 0}}
with made.scope():
    weight = tf.Variable(1.0)
print(json.dumps({
    "names": names,
    "replicas": made.num_replicas_in_sync,
    "copies": len(weight.values),
    "pack": made.bytes_per_pack,
    "same": [
        distribution.strategy("mirrored") is made,
        distribution.strategy("mirrored", devices=["/cpu:0", "CPU:1"]) is made,
        distribution.strategy("auto", devices=["CPU:0", "CPU:1"]) is made,
    ],
    "again": distribution.logical_devices(2),
    "fewer": refused(ValueError, lambda: distribution.strategy("mirrored", devices=["CPU:0"])),
    "absent": refused(ValueError, lambda: distribution.strategy("mirrored", devices=["CPU:7", "CPU:0", "CPU:0"])),
    "later": refused(RuntimeError, lambda: distribution.logical_devices(3)),
    "workers": refused(RuntimeError, lambda: distribution.strategy("multi_worker", cluster=single)),
}))
"""


@pytest.mark.long
def test_one_mirrored_strategy_a_process():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["names"] == found["again"] == ["CPU:0", "CPU:1"]
    assert (found["replicas"], found["copies"], found["pack"]) == (2, 2, 1000)
    assert found["same"] == [True, True, True]
    assert "`devices` must stay the same in one process" in found["fewer"]
    assert "Use ['CPU:0', 'CPU:1'], or another process." in found["fewer"]
    assert "`devices` must name devices of this machine, got 'CPU:7'" in found["absent"]
    assert "`devices` must name each device once, got 'CPU:0'" in found["absent"]
    assert "`number` must be set before TensorFlow has made its devices, got 3" in found["later"]
    assert "must be made before TensorFlow has made its devices, got 'multi_worker'" in found["workers"]


def test_none_and_auto_without_workers_or_gpus_are_the_one_in_scope(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: {"GPU": []}[kind])
    assert strategy(None) is strategy("auto") is tf.distribute.get_strategy()
    monkeypatch.setenv("TF_CONFIG", json.dumps({**TWO, "cluster": {"worker": ["a:2222"]}}))
    assert strategy() is tf.distribute.get_strategy()


@pytest.mark.parametrize("kind", ["auto", "multi_worker"])
def test_workers_are_taken_from_the_environment(kind, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO))
    # Once devices are made, this is as far as it goes.
    assert tf.config.list_logical_devices()
    with pytest.raises(RuntimeError, match="must be made before TensorFlow has made its devices"):
        strategy(kind)
    monkeypatch.setenv("TF_CONFIG", json.dumps(PARAMETER_SERVERS))
    with pytest.raises(ValueError, match="Parameter servers do not train a Keras model"):
        strategy(kind)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("miror", {}, "`kind` must be a known strategy or None, got 'miror'. Did you mean 'mirrored'?"),
        (None, {"devices": ["CPU:0"]}, "`devices` is not for None"),
        ("multi_worker", {"devices": ["GPU:0"], "cluster": TWO}, "Choose a worker's GPUs by CUDA_VISIBLE_DEVICES."),
        ("mirrored", {"devices": []}, "`devices` must be a list of names"),
        ("mirrored", {"devices": "CPU:0"}, "`devices` must be a list of names"),
        ("mirrored", {"cluster": TWO}, "`cluster` is not for 'mirrored'"),
        ("auto", {"timeout": 0}, "`timeout` must be a number of seconds of at least 1, got 0"),
        ("auto", {"health_check": float("inf")}, "`health_check` must be a number of seconds of at least 2"),
        ("auto", {"bytes_per_pack": -1}, "`bytes_per_pack` must be a whole number of at least 0, got -1"),
        ("auto", {"cluster": "{"}, "`TF_CONFIG` must be JSON"),
    ],
)
def test_wrong_arguments_are_refused(kind, options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        strategy(kind, **options)


def test_all_wrong_arguments_are_told_at_once():
    with pytest.raises(ValueError, match=r"`kind`") as refused:
        strategy("no", devices="CPU:0", timeout=-1, bytes_per_pack=0.5)
    for name in ("kind", "devices", "timeout", "bytes_per_pack"):
        assert f"strategy: `{name}`" in str(refused.value)


def test_keras_own_distribution_is_refused():
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0"]))
    try:
        with pytest.raises(ValueError, match=r"`keras.distribution` does nothing on TensorFlow"):
            strategy("auto")
        assert strategy(None) is tf.distribute.get_strategy()
    finally:
        keras.distribution.set_distribution(None)


def test_no_number_of_devices():
    with pytest.raises(ValueError, match="`number` must be a whole number of at least 1, got 0"):
        logical_devices(0)
