"""Trunks tuned on inputs alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import TASKS, rows

import kmtl
from kmtl import training
from kmtl.feeding import InputForm
from kmtl.training.input_tuning import DenoisingStep, Reconstruction, ViewStep, deviations
from kmtl.training.shared_trunk import shared_trunk
from kmtl.training.view_losses import view_losses
from kmtl.training.views import Views


def build(tasks, optimizer=None):
    image = keras.Input((4, 4, 1), name="image")
    features = keras.layers.Dense(5, activation="tanh")(keras.layers.Flatten()(image))
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(optimizer or keras.optimizers.Adam(0.05), run_eagerly=True)
    return model


def viewed(weights, steps, *, labels=None, optimizer=None):
    """The model after steps on two views, and the features it gives."""
    keras.utils.set_random_seed(0)
    (x, y), model = rows(), build(TASKS, optimizer)
    model.adapt(x, y)
    encoder = keras.Model(model.input, shared_trunk("test", model).output)
    views = Views(0.3, seed=0)
    model.step = ViewStep(model, model.setup, encoder=encoder, views=views, weights=weights)
    for _ in range(steps):
        model.train_on_batch(x, labels or y)
    return model, np.asarray(encoder(x))


def test_the_terms_are_those_of_variance_invariance_and_covariance():
    random = np.random.default_rng(0)
    one, other = 0.6 * random.normal(size=(7, 3)), 2.0 * random.normal(size=(7, 3))
    rows_there = np.array([1, 1, 1, 1, 1, 1, 0])
    found = view_losses(tf.constant(one), tf.constant(other), tf.constant(rows_there))
    one, other = one[:6], other[:6]
    lacking = [np.maximum(0, 1 - np.sqrt(part.var(0, ddof=1) + 1e-4)).mean() for part in (one, other)]
    matrices = [np.cov(part.T) for part in (one, other)]
    tied = [np.square(matrix - np.diag(np.diag(matrix))).sum() / 3 for matrix in matrices]
    wanted = {"agreement": np.square(one - other).mean(), "variance": sum(lacking) / 2, "covariance": sum(tied)}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(wanted, rel=1e-5)


def test_agreement_alone_collapses_and_the_variance_term_forbids_it():
    _, start = viewed({"agreement": 1.0, "variance": 0.0, "covariance": 0.0}, 0)
    _, alone = viewed({"agreement": 25.0, "variance": 0.0, "covariance": 0.0}, 30)
    _, spread = viewed({"agreement": 25.0, "variance": 25.0, "covariance": 1.0}, 30)
    assert start.std(0).min() > 0.05
    assert alone.std(0).max() < 0.02
    assert spread.std(0).min() > start.std(0).min()


def test_no_label_is_read_and_heads_stand_still():
    garbage = {"kind": np.ones(24, "int32"), "speed": np.full(24, 1e6, "float32")}
    options = {"weights": {"agreement": 1.0, "variance": 1.0, "covariance": 1.0}, "steps": 2}
    decaying = [keras.optimizers.AdamW(0.02, weight_decay=0.1) for _ in range(3)]
    model, _ = viewed(**options, optimizer=decaying[0])
    other, _ = viewed(**options, optimizer=decaying[1], labels=garbage)
    start, _ = viewed({**options["weights"]}, 0, optimizer=decaying[2])
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for task in TASKS:
        heads = [each.task_variables(task.name) for each in (model, start)]
        for one, two in zip(*heads, strict=True):
            np.testing.assert_array_equal(one, two)
    trunks = [each.shared_variables for each in (model, start)]
    assert all(np.abs(np.array(one) - np.array(two)).max() > 1e-4 for one, two in zip(*trunks, strict=True))


def test_denoising_tells_the_input_from_its_strong_view():
    x, _ = rows()
    x[3] = 0.0
    form = InputForm({"image": (4, 4, 1)}, frozenset(), frozenset(), False)
    data = tf.data.Dataset.from_tensor_slices((x, {})).batch(7)
    scales = deviations(data, form)
    assert scales["image"] == pytest.approx(x.std(), rel=1e-5)
    targets = Reconstruction(form, scales)
    model = build(targets.tasks)
    views = Views((None, lambda image: image + 0.25), seed=0)
    model.step = DenoisingStep(model, model.setup, views=views, targets=targets)
    told = model.predict(x + 0.25, verbose=0)["image_reconstruction"]
    loss = np.square(told - x.reshape(len(x), -1) / x.std())
    # The row that is missing has no label.
    logs = model.train_on_batch(x, targets(x), return_dict=True)
    assert logs["image_reconstruction_loss"] == pytest.approx(np.delete(loss, 3, axis=0).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tune": "contrast"}, r"`tune` must be None, a SemiSupervised or one of"),
        ({"tune": "view"}, "Did you mean 'views'"),
        ({"augment": 0.1}, "`augment` must stand beside the name of a way to tune"),
        ({"tune": training.SemiSupervised(), "augment": 0.1}, "`augment` must stand beside .* Give it to that one"),
        ({"tune": "denoise", "view_weights": {"variance": 1.0}}, "`view_weights` must be left out unless"),
        ({"tune": "views", "view_weights": {"spread": 1.0}}, "`view_weights` must be a dict of"),
        ({"tune": "views", "view_weights": {"variance": -1.0}}, "`view_weights` must be finite numbers"),
        ({"tune": "views", "augment": "noise"}, "`augment` must be None, a standard deviation or"),
    ],
)
def test_ways_to_tune_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training.Indirect(**options)


def test_inputs_that_cannot_be_tuned_on_are_refused():
    x, y = np.ones((8, 5), "int32"), {"speed": np.arange(8.0)}
    weak_and_strong = (None, lambda tokens: tokens)
    for options, message in (
        ({"tune": "views"}, "`augment` must be given for what is no image"),
        ({"tune": "denoise", "augment": weak_and_strong}, "`tune` must have an input of floats of a known size"),
    ):
        with pytest.raises(ValueError, match=message):
            training.Indirect(**options).train(build, [kmtl.Regression("speed")], (x, y), epochs=1, verbose=0)
