"""Stacking: what the meta model learns from, and that the model gives what it learned."""

import keras
import numpy as np
import pytest
from recipe_rows import TASKS, build, rows, train

import kmtl
from kmtl import training
from kmtl.training.stacking import folds_of
from kmtl.training.work import Given

SPEED = [kmtl.Regression("speed")]


class Remembered(keras.layers.Layer):
    """Gives a row that it was shown its label again, and any other row the mean."""

    def __init__(self, x, y, **options):
        super().__init__(**options)
        self.x, self.y = x.reshape(len(x), -1), y

    def call(self, inputs):
        flat = keras.ops.reshape(inputs, (-1, self.x.shape[1]))
        far = keras.ops.max(keras.ops.abs(flat[:, None] - self.x[None]), axis=-1)
        found = keras.ops.take(self.y, keras.ops.argmin(far, axis=1))
        return keras.ops.where(keras.ops.min(far, axis=1) < 1e-6, found, self.y.mean())[:, None]


class Memory(training.Recipe):
    """Learns the rows by heart."""

    def run(self, work):
        held = work.rows()
        image = keras.Input((4, 4, 1), name="image")
        output = Remembered(held.x, held.y["speed"].reshape(-1), name="speed")(image)
        model = kmtl.MultiTaskModel(image, {"speed": output}, tasks=work.tasks)
        model.compile("sgd", run_eagerly=True)
        return model


class LeastSquares(training.Recipe):
    """A linear model, solved."""

    def run(self, work):
        held, model = work.rows(), work.model()
        model.adapt(work.train)
        scaler, flat = model.scalers["speed"], held.x.reshape(held.number, -1)
        labels = (held.y["speed"].reshape(-1) - scaler.mean.numpy()) / scaler.scale.numpy()
        found = np.linalg.lstsq(np.c_[flat, np.ones(held.number)], labels, rcond=None)[0]
        model.get_layer("speed_standardized").set_weights([found[:-1, None], found[-1:]])
        return model


def labelled():
    x = rows(40)[0]
    noise = np.random.default_rng(5).normal(0.0, 1.0, 40)
    return x, {"speed": (100 * x.mean((1, 2, 3)) + noise).astype("float32")}


def linear(tasks):
    image = keras.Input((4, 4, 1), name="image")
    model = kmtl.MultiTaskModel.from_features(image, keras.layers.Flatten()(image), tasks)
    model.compile("sgd", run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def weighed():
    """A super learner of an honest base and one that learns by heart."""
    recipe = training.Stacking("non_negative", folds=2, base=[LeastSquares(), Memory()])
    return recipe.train(linear, SPEED, labelled(), epochs=2, batch_size=20, verbose=0)


def test_a_base_that_learns_by_heart_does_not_win(weighed):
    weights = weighed.notes["weights"]["speed"]
    assert weights["base_2"] < weights["base_1"]
    # In its own training rows it is without a fault, and would have taken all.
    x, y = labelled()
    by_heart = weighed.model.get_layer("base_2").predict(x, verbose=0)["speed"]
    np.testing.assert_allclose(by_heart[:, 0], y["speed"])
    assert sum(weights.values()) == pytest.approx(1.0)


def test_the_model_is_the_weighted_mean_and_its_loss_on_the_scale_of_the_labels(weighed):
    x, y = labelled()
    found = weighed.model
    parts = [found.get_layer(name).predict(x, verbose=0)["speed"] for name in ("base_1", "base_2")]
    weights = weighed.notes["weights"]["speed"]
    outputs = found.predict(x, verbose=0)["speed"]
    np.testing.assert_allclose(outputs, weights["base_1"] * parts[0] + weights["base_2"] * parts[1], rtol=1e-5)
    logs = found.evaluate(x, y, verbose=0, return_dict=True)
    wanted = np.mean((outputs[:, 0] - y["speed"]) ** 2) / y["speed"].var()
    assert logs["speed_loss"] == pytest.approx(wanted, rel=1e-4)


def test_no_row_is_predicted_by_a_model_that_saw_it_and_each_fold_has_labels_of_each_task():
    work = training.Work(training.Joint(), Given(build, TASKS, rows(), None, 1, 0, 8, None, 0))
    held = work.rows()
    folds = folds_of(work, held, 3)
    assert sorted(np.concatenate([left for _, left in folds]).tolist()) == list(range(24))
    for seen, left in folds:
        assert set(seen.tolist()) | set(left.tolist()) == set(range(24))
        assert not set(seen.tolist()) & set(left.tolist())
        assert (held.y["kind"][left] >= 0).sum() in (5, 6)
        assert (~np.isnan(held.y["speed"][left])).sum() in (5, 6)


@pytest.mark.long
def test_the_layers_give_what_the_meta_model_learned():
    base = training.Joint()
    found = train(training.Stacking(folds=2, penalty=0.1, base=base), epochs=1, batch_size=12, validation=None)
    x = rows(seed=1)[0]
    base = found.model.get_layer("base_1").predict(x, verbose=0)
    columns = np.hstack([np.log(base["kind"]), base["speed"]])
    weights = np.array(list(found.notes["weights"]["speed"].values()))
    assert weights.shape == (4, 1)
    speed = found.model.predict(x, verbose=0)["speed"]
    # The bias stands in no column.
    np.testing.assert_allclose(speed - speed[0], (columns - columns[0]) @ weights, rtol=1e-3, atol=1e-3)
    kind = found.model.predict(x, verbose=0)["kind"]
    np.testing.assert_allclose(kind.sum(axis=1), 1.0, rtol=1e-5)
    scores = np.log(kind / kind[:, :1])
    weights = np.array(list(found.notes["weights"]["kind"].values()))
    wanted = columns @ (weights - weights[:, :1])
    np.testing.assert_allclose(scores - scores[0], wanted - wanted[0], rtol=1e-3, atol=1e-3)


def test_what_cannot_be_stacked_is_refused_before_training():
    with pytest.raises(ValueError, match="`base` must be two recipes or more to weigh their outputs"):
        training.Stacking("non_negative")
    with pytest.raises(ValueError, match="`penalty` must be a finite number above 0"):
        training.Stacking(penalty=0)
    with pytest.raises(ValueError, match=r"`meta` must not be 'logistic' for values, as of 'speed'.*Use 'ridge'"):
        train(training.Stacking("logistic"))
    x, y = rows()
    y["speed"][1:] = np.nan
    with pytest.raises(ValueError, match="`train` must have labels of each task outside of every fold, got 1 in one"):
        train(training.Stacking(folds=2), train=(x, y))
