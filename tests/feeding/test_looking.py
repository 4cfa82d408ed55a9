"""The one look at the data before training: how far it goes, what it learns, what it remembers."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import compiled, examples

X, Y = examples(20, hidden=0.3)


class Source:
    """A dataset of five batches, or without end and without saying so, that counts what is taken."""

    def __init__(self, endless=False, labels=Y):
        self.taken, self.endless = 0, endless
        self.labels = labels
        spec = tf.data.Dataset.from_tensor_slices((X, labels)).batch(4).element_spec
        self.dataset = tf.data.Dataset.from_generator(self._batches, output_signature=spec)
        if not endless:
            self.dataset = self.dataset.apply(tf.data.experimental.assert_cardinality(5))

    def _batches(self):
        place = 0
        while self.endless or place < 5:
            rows = slice(4 * (place % 5), 4 * (place % 5) + 4)
            self.taken += 1
            place += 1
            yield X[rows], {name: value[rows] for name, value in self.labels.items()}


def fit(model, data, **options):
    return model.fit(data, verbose=0, **options).history


def test_statistics_are_those_of_the_labels():
    model = compiled(run_eagerly=True)
    model.adapt(X, Y)
    for name in ("box", "age"):
        np.testing.assert_allclose(np.ravel(model.scalers[name].mean), np.ravel(np.nanmean(Y[name], axis=0)), rtol=1e-6)
        np.testing.assert_allclose(np.ravel(model.scalers[name].scale), np.ravel(np.nanstd(Y[name], axis=0)), rtol=1e-6)


def test_fit_learns_statistics_once_and_adapt_again():
    model = compiled(run_eagerly=True)
    fit(model, Source().dataset)
    first = model.scalers["age"].mean.numpy()
    np.testing.assert_allclose(first, [np.nanmean(Y["age"])], rtol=1e-6)
    moved = {**Y, "age": Y["age"] + 100}
    fit(model, Source(labels=moved).dataset)
    np.testing.assert_array_equal(model.scalers["age"].mean, first)
    model.adapt(X, moved)
    np.testing.assert_allclose(model.scalers["age"].mean, first + 100, rtol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [Y, pytest.param({**Y, "species": Y["species"].astype("int64")}, marks=pytest.mark.long)],
    ids=["as they are", "cast"],
)
def test_a_dataset_is_looked_at_once(labels):
    model, source = compiled(run_eagerly=True), Source(labels=labels)
    fit(model, source.dataset, validation_data=source.dataset)
    # A look, an epoch, a validation.
    assert source.taken == 15
    fit(model, source.dataset)
    assert source.taken == 20


def test_a_number_limits_the_look():
    model, source = compiled(run_eagerly=True), Source()
    fit(model, source.dataset, check=2)
    assert source.taken == 7
    np.testing.assert_allclose(model.scalers["age"].mean, [np.nanmean(Y["age"][:8])], rtol=1e-6)


def test_a_look_at_a_stream_with_an_end_is_all_of_it():
    model, source = compiled(run_eagerly=True), Source()
    fit(model, source.dataset, steps_per_epoch=2)
    np.testing.assert_allclose(model.scalers["age"].mean, [np.nanmean(Y["age"])], rtol=1e-6)


def test_false_takes_no_look():
    model, source = (
        compiled(run_eagerly=True),
        Source(labels={**Y, "species": np.where(np.arange(20) == 1, 1, -1).astype("int32")}),
    )
    model.adapt(X, Y)
    fit(model, source.dataset, check=False)
    assert source.taken == 5


def test_a_look_at_an_endless_stream_is_one_epoch():
    model, source = compiled(run_eagerly=True), Source(endless=True)
    fit(model, source.dataset.prefetch(1), steps_per_epoch=3, validation_data=source.dataset, validation_steps=2)
    assert source.taken < 30


@pytest.mark.long
def test_a_generator_gives_back_what_was_looked_at():
    seen = []

    def batches():
        for place in range(40):
            seen.append(place)
            yield X[place % 20 :][:1], {name: value[place % 20 :][:1] for name, value in Y.items()}

    class Recorder(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            del logs
            self.last = batch

    model, recorder = compiled(run_eagerly=True), Recorder()
    fit(model, batches(), steps_per_epoch=40, callbacks=[recorder])
    assert seen == list(range(40))
    assert recorder.last == 39
    assert model.optimizer.iterations == 40
    np.testing.assert_allclose(model.scalers["age"].mean, [np.nanmean(Y["age"][:16])], rtol=1e-6)


def test_validation_without_a_task_says_nan_for_it():
    model = compiled(run_eagerly=True)
    logs = model.fit(X, Y, verbose=0, validation_data=(X, {"age": Y["age"], "species": Y["species"]})).history
    absent = [f"val_{key}" for key in ("alive_loss", "alive_accuracy", "box_loss", "box_mae")]
    assert np.isnan([logs[key][0] for key in absent]).all()
    found = logs["val_loss"][0]
    assert found == pytest.approx(logs["val_age_loss"][0] + logs["val_species_loss"][0], rel=1e-6)


def test_no_warning_of_shuffling_what_cannot_be_shuffled():
    # Stock Keras warns; warnings are errors here.
    fit(compiled(run_eagerly=True), Source().dataset, shuffle=True)


def test_a_dataset_is_mapped_once_and_freed():
    model = compiled(run_eagerly=True)
    data = tf.data.Dataset.from_tensor_slices((X, {**Y, "species": Y["species"].astype("int64")})).batch(8)
    first, again = (model.inspection.partial_feed(data, None, None, "evaluate").x for _ in range(2))
    assert first is again is not data
    other = compiled(run_eagerly=True)
    assert other.inspection.partial_feed(data, None, None, "evaluate").x is not first
    gone = weakref.ref(data)
    del data, first, again
    gc.collect()
    assert gone() is None
