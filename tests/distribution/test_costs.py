"""The cost of a step: bytes as counted where they cross, times by hand."""

import json
import subprocess
import sys

import pytest

import kmtl
from kmtl.distribution.costs import Sizes, cost

# Counts what TensorFlow is asked to sum while a step is traced; its own reduction does the work.
PROGRAM = """
import json, sys
import keras, numpy as np, tensorflow as tf
import kmtl
from kmtl.distribution.costs import Sizes, cost

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

class Counting(tf.distribute.ReductionToOneDevice):
    def __init__(self):
        super().__init__()
        self.numbers = self.sums = 0
    def batch_reduce_implementation(self, reduce_op, value_destination_pairs, options):
        self.sums += 1
        for value, _ in value_destination_pairs:
            self.numbers += value.values[0].shape.num_elements()
        return super().batch_reduce_implementation(reduce_op, value_destination_pairs, options)

counting = Counting()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=counting)
x = np.random.default_rng(0).normal(size=(16, 7)).astype("float32")
labels = {name: x[:, place] for place, name in enumerate(("zinc", "iron", "lead"))}
CASES = {
    "equal": "equal", "famo": "famo", "upgrad": "upgrad", "moco": "moco",
    "features": kmtl.balancers.UPGrad(level="features"), "online": kmtl.balancers.MGDA(solve="online"),
    "sliced": kmtl.balancers.MGDA(gram_fraction=0.5),
}
found = {}
for name in sys.argv[1:]:
    balancer = CASES[name]
    keras.utils.set_random_seed(1)
    with strategy.scope():
        given = keras.Input((7,))
        features = keras.layers.Dense(11)(given)
        tasks = [kmtl.Regression(task, standardize=False) for task in labels]
        model = kmtl.MultiTaskModel.from_features(given, features, tasks)
        model.compile("sgd", balancer=balancer)
    counting.numbers = counting.sums = 0
    model.fit(x, labels, batch_size=16, verbose=0)
    told = cost(model, balancer, replicas=2, step_seconds=1.0, bandwidth=1e9)
    found[name] = [counting.numbers, told.bytes // 4, counting.sums, told.sums]
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["equal", "upgrad", "moco", "features"], marks=pytest.mark.long),
        pytest.param(["famo", "online", "sliced"], marks=pytest.mark.slow),
    ],
)
def test_what_crosses_is_what_the_model_says(names):
    command = [sys.executable, "-c", PROGRAM, *names]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert list(found) == names
    for name, (numbers, told, sums, told_sums) in found.items():
        assert (numbers, sums) == (told, told_sums), name


def test_a_ring_by_hand():
    found = cost(Sizes(2, 1000, 10), replicas=4, step_seconds=0.5, bandwidth=1e6, latency=1e-3)
    numbers = 2 * 2 + 13 + 1010
    assert found.bytes == 4 * numbers
    assert found.communication == pytest.approx(2 * 3 / 4 * 4 * numbers / 1e6 + 3 * 2 * 3 * 1e-3)
    assert found.seconds == found.compute + found.communication
    assert found.efficiency == pytest.approx(0.5 / found.seconds)


def test_one_replica_sends_nothing():
    assert cost(Sizes(5, 10**6, 10), "mgda", replicas=1, step_seconds=1.0, bandwidth=1e9).communication == 0


@pytest.mark.parametrize(
    ("balancer", "passes"),
    [
        ("equal", 1.0),
        ("famo", 1.4),
        ("mgda", 1 + 4 * 0.6),
        (kmtl.balancers.MGDA(level="features"), 1.0),
        (kmtl.balancers.MGDA(update_every=10), 1 + 4 * 0.6 / 10),
        (kmtl.balancers.MGDA(gram_fraction=0.25), 1 + 0.25 * (0.4 + 5 * 0.6)),
    ],
)
def test_passes(balancer, passes):
    found = cost(Sizes(5, 100, 10), balancer, replicas=2, step_seconds=1.0, bandwidth=1e9)
    assert found.compute == pytest.approx(passes)


def test_overlap_hides_what_crosses():
    open_, half = (
        cost(Sizes(5, 10**6, 10), replicas=8, step_seconds=1.0, bandwidth=1e9, overlap=o) for o in (0.0, 0.5)
    )
    assert half.communication == pytest.approx(open_.communication / 2)


def test_all_offenders_at_once():
    with pytest.raises(ValueError, match="replicas") as caught:
        cost(Sizes(2, 10, 10), replicas=0, step_seconds=-1, bandwidth=0, latency=-1, backward_share=1, overlap=2)
    for name in ("step_seconds", "bandwidth", "latency", "backward_share", "overlap"):
        assert f"`{name}`" in str(caught.value)
