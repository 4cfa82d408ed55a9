"""With half of each task's labels hidden, loss, gradient and metrics are those of the labelled rows alone.

One small network with a head for every kind of task whose head is one dense layer is run through kmtl's
losses and metrics in float32, eager, as a graph and under XLA, and a second
time in float64 on the labelled rows only, by other formulas.
"""

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
from cases import cases
from keras import ops
from kinds import KINDS

from kmtl.losses import group_tasks
from kmtl.metrics import TaskMetrics, reported
from kmtl.tasks import Unstandardize

LINEAR = {name: kind for name, kind in KINDS.items() if kind.linear}
ROWS, INPUTS, WIDTH = 24, 4, 5
# Not in alphabetical order, so that a sort anywhere would show.
PREFIXES = ("zebra", "ant", "mole", "bee")
COPIES = {"single": 1, "grouped": 4}
MODES = {
    "eager": lambda step: step,
    "graph": tf.function,
    "xla": lambda step: tf.function(step, jit_compile=True),
}


def distance(labels, predictions):
    """A metric of whole vectors: of elements it would be another number."""
    return ops.sqrt(ops.sum(ops.square(labels - predictions), axis=-1))


METRICS = {
    "classification": lambda: [keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top")],
    "binary": lambda: [keras.metrics.Precision(name="precision")],
    "multilabel": lambda: [keras.metrics.Recall(name="recall"), keras.metrics.F1Score("macro", 0.5, name="macro")],
    "regression": lambda: ["mse", keras.metrics.RootMeanSquaredError(name="rms"), distance],
}


class Network:
    """Heads for every kind of task on one layer, through kmtl's losses and metrics."""

    def __init__(self, kinds, copies, mode):
        self.kinds = {f"{prefix}_{name}": kind for prefix in PREFIXES[:copies] for name, kind in kinds.items()}
        self.tasks = [kind.make(name) for name, kind in self.kinds.items()]
        self.scalers = {task.name: self.scaler(task, place) for place, task in enumerate(self.tasks)}
        self.scalers = {name: scaler for name, scaler in self.scalers.items() if scaler is not None}
        self.groups = group_tasks(self.tasks, {task.name: task.resolved_loss() for task in self.tasks}, self.scalers)
        plain = {task.name: [*task.metrics, *METRICS[task.kind]()] for task in self.tasks}
        weighted = {task.name: task.metrics for task in self.tasks}
        self.metrics = TaskMetrics(self.groups, reported(self.tasks, plain, weighted))
        generator = np.random.default_rng(11)
        self.trunk = generator.normal(size=(INPUTS, WIDTH))
        self.heads = {task.name: generator.normal(size=(WIDTH, task.units)) for task in self.tasks}
        self.shares = {task.name: 1.0 + place / 10 for place, task in enumerate(self.tasks)}
        self.step = MODES[mode](self._step)

    @staticmethod
    def scaler(task, place):
        """Statistics that differ from task to task; `robust` has an output that the user built."""
        if task.kind != "regression" or task.name.endswith("robust"):
            return None
        layer = Unstandardize(name=task.name)
        layer.build((None, task.units))
        layer.learn(np.arange(1.0, 1 + task.units) + place / 7, np.arange(2.0, 2 + task.units) + place / 5)
        return layer

    def predict(self, rows, trunk, heads):
        """Predictions of every task, in the precision of the rows."""
        features = tf.tanh(rows @ trunk)
        outputs = {name: features @ head for name, head in heads.items()}
        return {task.name: keras.activations.get(task.activation)(outputs[task.name]) for task in self.tasks}

    def _step(self, rows, trunk, heads, labels, weights):
        with tf.GradientTape() as tape:
            tape.watch([trunk, heads])
            predictions = self.predict(rows, trunk, heads)
            examples = [group.examples(labels, predictions, weights) for group in self.groups]
            losses = {}
            for group, seen in zip(self.groups, examples, strict=True):
                sums, counts = group.sums(seen)
                losses.update(zip(group.names, tf.unstack(sums / tf.maximum(counts, 1.0)), strict=True))
            total = tf.add_n([self.shares[name] * loss for name, loss in losses.items()])
        self.metrics.update_state(examples)
        return losses, tape.gradient(total, [trunk, heads])

    def run(self, rows, labels, weights=None):
        """Losses, gradients and metrics of one batch, as NumPy."""
        self.metrics.reset_state()
        heads = {name: tf.constant(head, "float32") for name, head in self.heads.items()}
        given = {name: tf.constant(weight) for name, weight in weights.items()} if weights else None
        tensors = {name: tf.constant(label) for name, label in labels.items()}
        losses, gradients = self.step(
            tf.constant(rows, "float32"), tf.constant(self.trunk, "float32"), heads, tensors, given
        )
        return tf.nest.map_structure(np.asarray, (losses, gradients, self.metrics.result()))

    def reference(self, rows, labels, weights):
        """The same from the labelled rows alone, in float64."""
        trunk = tf.constant(self.trunk)
        heads = {name: tf.constant(head) for name, head in self.heads.items()}
        with tf.GradientTape() as tape:
            tape.watch([trunk, heads])
            losses = {}
            for task in self.tasks:
                keep = np.flatnonzero(present(labels[task.name]).any(axis=1))
                predictions = self.predict(tf.constant(rows[keep]), trunk, heads)[task.name]
                values = self.values(task, labels[task.name][keep], predictions)
                losses[task.name] = tf.reduce_sum(values * weights[task.name][keep]) / len(keep)
            total = tf.add_n([self.shares[name] * loss for name, loss in losses.items()])
        return tf.nest.map_structure(np.asarray, (losses, tape.gradient(total, [trunk, heads])))

    def values(self, task, labels, predictions):
        """One loss a row: the mean over the elements that are there."""
        there = present(labels)
        labels = tf.constant(labels.astype("float64"))
        scaler = self.scalers.get(task.name)
        if scaler is not None:
            mean, scale = (part.numpy().astype("float64") for part in (scaler.mean, scaler.scale))
            labels = (tf.reshape(labels, predictions.shape) - mean) / scale
            predictions = (predictions - mean) / scale
        rows = self.kinds[task.name].rows
        if not self.kinds[task.name].parts:
            return tf.reduce_mean(rows(labels, predictions), axis=1)
        return tf.stack(
            [
                tf.reduce_mean(rows(tf.boolean_mask(y, keep)[None], tf.boolean_mask(p, keep)[None]))
                for y, p, keep in zip(labels, predictions, there, strict=True)
            ]
        )


def present(labels):
    """Which elements of the labels are there, `(n, elements)`, by NumPy alone."""
    there = ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0
    return there.reshape(len(labels), -1)


WAYS = ["eager single", "eager grouped", "graph single", "graph grouped", "xla single", "xla grouped"]


@pytest.fixture(params=LINEAR)
def kind_name(request):
    return request.param


@pytest.fixture(scope="module", params=cases(WAYS, "eager grouped", others="slow"))
def network(request):
    mode, copies = request.param.split()
    return Network(LINEAR, COPIES[copies], mode)


@pytest.fixture(scope="module")
def batch(network):
    """Rows, labels of which half are hidden, and sample weights that are NaN where the label is."""
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(ROWS, INPUTS))
    labels, weights = {}, {}
    for task in network.tasks:
        label = network.kinds[task.name].draw(generator, ROWS)
        label[generator.permutation(ROWS)[: ROWS // 2]] = task.missing
        if network.kinds[task.name].parts:
            label[generator.random(label.shape) < 0.3] = task.missing
            label[:2], label[1, 0] = network.kinds[task.name].draw(generator, 2), task.missing
        labels[task.name] = label
        hidden = ~present(label).any(axis=1)
        assert 2 <= hidden.sum() <= ROWS - 4
        weights[task.name] = np.where(hidden, np.nan, generator.uniform(0.5, 2.0, ROWS)).astype("float32")
    return rows, labels, weights


@pytest.fixture(scope="module")
def plain(network, batch):
    rows, labels, _ = batch
    ones = {name: np.ones(ROWS) for name in labels}
    return network.run(rows, labels), network.reference(rows, labels, ones)


@pytest.fixture(scope="module")
def weighted(network, batch):
    rows, labels, weights = batch
    return network.run(rows, labels, weights), network.reference(rows, labels, weights)


@pytest.fixture(params=["plain", "weighted"])
def outcome(request):
    return request.getfixturevalue(request.param)


def of_kind(network, kind_name):
    return [task for task in network.tasks if task.name.partition("_")[2] == kind_name]


def test_alike_tasks_are_computed_together_and_lone_ones_alone(network):
    sizes = sorted(len(group.tasks) for group in network.groups)
    assert sizes == [len(network.tasks) // len(LINEAR)] * len(LINEAR)


def test_losses_are_those_of_the_labelled_rows(network, outcome, kind_name):
    (losses, _, _), (expected, _) = outcome
    for task in of_kind(network, kind_name):
        assert losses[task.name] == pytest.approx(expected[task.name], rel=2e-5), task.name
        assert losses[task.name] > 0.01


def test_head_gradients_are_those_of_the_labelled_rows(network, outcome, kind_name):
    (_, (_, heads), _), (_, (_, expected)) = outcome
    for task in of_kind(network, kind_name):
        assert np.abs(expected[task.name]).max() > 1e-3
        np.testing.assert_allclose(heads[task.name], expected[task.name], rtol=1e-4, atol=2e-6, err_msg=task.name)


def test_trunk_gradient_is_that_of_the_labelled_rows(network, outcome):
    (_, (trunk, _), _), (_, (expected, _)) = outcome
    np.testing.assert_allclose(trunk, expected, rtol=1e-4, atol=1e-6 * len(network.tasks))


def scored(network, task, rows, labels, weights):
    """What each metric is on the labelled rows, by scikit-learn and NumPy."""
    there = present(labels)
    features = np.tanh(rows @ network.trunk)
    guess = keras.activations.get(task.activation)(tf.constant(features @ network.heads[task.name])).numpy()
    truth = labels.reshape(ROWS, -1).astype("float64")
    repeated = np.broadcast_to(weights[:, None], there.shape)[there]
    if task.kind == "classification":
        keep = there[:, 0]
        arguments = truth[keep, 0], guess[keep].argmax(axis=1)
        return {
            "accuracy": sklearn.metrics.accuracy_score(*arguments),
            "weighted_accuracy": sklearn.metrics.accuracy_score(*arguments, sample_weight=repeated),
            "top": sklearn.metrics.top_k_accuracy_score(truth[keep, 0], guess[keep], k=2, labels=range(3)),
        }
    if task.kind == "regression":
        gap = np.abs(truth - guess)
        whole = there.all(axis=1)
        return {
            "mae": gap[there].mean(),
            "weighted_mae": np.average(gap[there], weights=repeated),
            "mse": sklearn.metrics.mean_squared_error(truth[there], guess[there]),
            "rms": np.sqrt((gap[there] ** 2).mean()),
            "distance": np.linalg.norm(gap[whole], axis=1).mean(),
        }
    decided = guess > 0.5
    hits = truth[there] == decided[there]
    values = {"accuracy": hits.mean(), "weighted_accuracy": np.average(hits, weights=repeated)}
    if task.kind == "binary":
        return {**values, "precision": sklearn.metrics.precision_score(truth[there], decided[there])}
    whole = there.all(axis=1)
    recall = sklearn.metrics.recall_score(truth[there], decided[there])
    macro = sklearn.metrics.f1_score(truth[whole], decided[whole], average="macro", zero_division=0)
    return {**values, "recall": recall, "macro": macro}


def test_metrics_are_those_of_the_labelled_rows(network, batch, weighted, kind_name):
    rows, labels, weights = batch
    (_, _, values), _ = weighted
    for task in of_kind(network, kind_name):
        expected = scored(network, task, rows, labels[task.name], weights[task.name])
        found = {key.removeprefix(f"{task.name}_"): v for key, v in values.items() if key.startswith(f"{task.name}_")}
        assert found == pytest.approx(expected, rel=1e-5), task.name


def test_without_sample_weights_a_weighted_metric_is_the_plain_one(network, plain):
    (_, _, values), _ = plain
    for task in network.tasks:
        name = f"{task.name}_weighted_{task.metric_names()[0]}"
        assert values[name] == values[name.replace("weighted_", "")]


@pytest.mark.parametrize("with_weights", [False, True])
def test_a_batch_without_any_label_gives_zero_loss_zero_gradient_and_no_metric(network, batch, with_weights):
    rows, labels, weights = batch
    empty = {task.name: np.full_like(labels[task.name], task.missing) for task in network.tasks}
    hidden = {name: np.full_like(weight, np.nan) for name, weight in weights.items()}
    losses, gradients, values = network.run(rows, empty, hidden if with_weights else None)
    assert all(loss == 0 for loss in losses.values())
    assert not any(np.any(gradient) for gradient in tf.nest.flatten(gradients))
    assert all(np.isnan(value) for value in values.values())
    assert list(values) == network.metrics.keys


def test_one_task_without_labels_leaves_the_others_untouched(network, batch, plain):
    rows, labels, _ = batch
    (losses, (_, heads), values), _ = plain
    gone = network.tasks[0].name
    partial = {**labels, gone: np.full_like(labels[gone], network.tasks[0].missing)}
    other_losses, (_, other_heads), other_values = network.run(rows, partial)
    assert other_losses.pop(gone) == 0
    assert not np.any(other_heads.pop(gone))
    for name, loss in other_losses.items():
        assert loss == losses[name]
        np.testing.assert_array_equal(other_heads[name], heads[name])
    for key, value in other_values.items():
        assert np.isnan(value) if key.startswith(f"{gone}_") else value == values[key]
