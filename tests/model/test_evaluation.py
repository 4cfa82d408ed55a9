"""`evaluate`, `predict` and single batches: what they refuse of data that nobody looked at before."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from mistakes import Case, check_refused, parameters
from toys import WIDTH, compiled, examples

from kmtl.evidence import advise

X, Y = examples(12)
INFINITE = np.where(np.arange(12)[:, None] == 3, np.inf, X).astype("float32")
BELOW = {**Y, "alive": Y["alive"] - 2}
ABOVE = {**Y, "species": Y["species"] + 4}
YES_BY_9 = {**Y, "alive": 9 * Y["alive"]}
ENDLESS_AGE = {**Y, "age": np.where(np.arange(12) == 3, np.inf, Y["age"]).astype("float32")}
NONE = (X[:0], {name: label[:0] for name, label in Y.items()})


def dataset(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(5)


class Batches(keras.utils.PyDataset):
    """One batch, twice or as often as is told."""

    def __init__(self, *batch, count=2):
        super().__init__()
        self.batch, self.count = batch, count

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        return self.batch


def evaluate(*data, **options):
    """A case's act."""
    return lambda model: model.evaluate(*data, verbose=0, **options)


def fit(*data, **options):
    """A case's act."""
    return lambda model: model.fit(*data, verbose=0, **options)


def evaluate_stream(*batches):
    """A case's act."""
    return lambda model: model.evaluate(iter(batches), verbose=0)


def predict(x, **options):
    """A case's act."""
    return lambda model: model.predict(x, verbose=0, **options)


EVALUATIONS = [
    Case("infinite input", evaluate(INFINITE, Y), "evaluate: `x` must be finite | 1 of 12"),
    Case("label below -1", evaluate(X, BELOW), "evaluate: `y['alive']` must lie in 0..1, or be -1 | -2..-2"),
    Case("class too large", evaluate(X, ABOVE), "evaluate: `y['species']` must lie in 0..3 | from 0"),
    Case(
        "label below -1, streamed", evaluate(dataset(y=BELOW)), "evaluate: `y['alive']` must lie in 0..1 | got -2..-2"
    ),
    Case("class too large, streamed", evaluate(dataset(y=ABOVE)), "evaluate: `y['species']` must lie in 0..3 | 4..7"),
    Case("infinite input, streamed", evaluate(dataset(INFINITE)), "evaluate: `x` must be finite | in 1 of 12 examples"),
    Case(
        "infinite input, by name",
        evaluate(dataset({"image": INFINITE})),
        "evaluate: `x['image']` must be finite | in 1 of 12 examples | Only labels may be missing",
    ),
    Case("both, streamed", evaluate(dataset(y={**ABOVE, "alive": BELOW["alive"]})), "`y['species']` | `y['alive']`"),
    Case("class too large, generated", evaluate_stream((X, Y), (X, ABOVE)), "evaluate: `y['species']` must lie in"),
    Case("class too large, by index", evaluate(Batches(X, ABOVE)), "evaluate: `y['species']` must lie in 0..3"),
    Case("nothing", evaluate(*NONE), "evaluate: `x` must hold at least one example | empty"),
    Case("no batch", evaluate(dataset().take(0)), "evaluate: `x` must hold at least one example | empty"),
    Case("nothing generated", evaluate_stream(), "evaluate: `x` must hold at least one example | empty"),
    Case("no steps", evaluate(dataset(), steps=0), "evaluate: `steps` must be | got 0"),
    Case("half an example", evaluate(X, Y, batch_size=2.5), "evaluate: `batch_size` must be | got 2.5"),
    Case("misspelt", evaluate(X, Y, batchsize=2), "evaluate: `batchsize` | Did you mean 'batch_size'?", TypeError),
    Case(
        "before scales are learned",
        lambda _: compiled().evaluate(X, Y, verbose=0),
        "evaluate: `tasks` must have learned | ['box', 'age'] | model.adapt(data)",
    ),
]
TRAININGS = [
    Case("infinite input", fit(dataset(INFINITE), check=False), "fit: `x` must be finite | in 1 of 12 examples"),
    Case("NaN in inputs", fit(dataset(X * np.nan), check=False), "fit: `x` must be finite | in 12 of 12"),
    Case("label below -1", fit(dataset(y=BELOW), check=False), "fit: `y['alive']` must lie in 0..1, or be -1 | -2"),
    Case("label above 1", fit(dataset(y=YES_BY_9), check=False), "fit: `y['alive']` must lie in 0..1 | got 0..9"),
    Case("infinite label", fit(dataset(y=ENDLESS_AGE), check=False), "fit: `y['age']` must be finite or NaN | 1 inf"),
    Case(
        "several, without end",
        fit(dataset(INFINITE, BELOW).repeat(), steps_per_epoch=3, check=False),
        "fit: `x` must be finite, got NaN or infinity in a batch | fit: `y['alive']` must lie in 0..1 | a batch with",
    ),
]
PREDICTIONS = [
    Case("nothing", predict(X[:0]), "predict: `x` must hold at least one example | empty"),
    Case("no batch", predict(dataset().take(0)), "predict: `x` must hold at least one example | empty"),
    Case("nothing generated", predict(iter(())), "predict: `x` must hold at least one example | empty"),
    Case("nothing by index", predict(Batches(count=0)), "predict: `x` must hold at least one example | empty"),
    Case("none", predict(None), "predict: `x` must be given, got None"),
    Case("too narrow", predict(X[:, 1:]), f"predict: `x` must have shape (batch, {WIDTH}), got (12, {WIDTH - 1})"),
    Case("text", predict(X.astype(str)), "predict: `x` must be numbers"),
    Case("half an example", predict(X, batch_size=2.5), "predict: `batch_size` must be | got 2.5"),
    Case("misspelt", predict(X, batchsize=2), "predict: `batchsize` | Did you mean 'batch_size'?", TypeError),
]
BATCHES = [
    Case("class to train on", lambda model: model.train_on_batch(X, ABOVE), "train_on_batch: `y['species']` | 0..3"),
    Case("class to test on", lambda model: model.test_on_batch(X, ABOVE), "test_on_batch: `y['species']` | 0..3"),
    Case("class to measure", lambda model: model.gramians(X, ABOVE), "gramians: `y['species']` | 0..3"),
    Case("infinity to measure", lambda model: model.gramians(INFINITE, Y), "gramians: `x` must be finite | 1 of 12"),
    Case("no batches to measure", lambda model: model.gramians(X, Y, batches=-1), "gramians: `batches` | got -1"),
    Case("nothing to measure", lambda model: model.gramians(*NONE), "gramians: `x` must hold at least one example"),
    Case("class to advise on", lambda model: advise(model, (X, ABOVE)), "advise: `y['species']` | 0..3"),
    Case("infinite input", lambda model: model.train_on_batch(INFINITE, Y), "train_on_batch: `x` must be finite"),
    Case(
        "misspelt",
        lambda model: model.train_on_batch(X, Y, sample_weigth=None),
        "train_on_batch: `sample_weigth` | Did you mean 'sample_weight'?",
        TypeError,
    ),
    Case(
        "misspelt test",
        lambda model: model.test_on_batch(X, Y, weights=None, return_dicts=True),
        "test_on_batch: `weights` | `return_dicts` | Did you mean 'return_dict'?",
        TypeError,
    ),
    Case("nothing", lambda model: model.train_on_batch(*NONE), "train_on_batch: `x` must hold at least one example"),
]


@pytest.fixture(scope="module")
def model():
    made = compiled(run_eagerly=True)
    made.adapt(X, Y)
    return made


@pytest.mark.parametrize("case", parameters(evaluate=EVALUATIONS, fit=TRAININGS, predict=PREDICTIONS, batch=BATCHES))
def test_refused(case, model):
    check_refused(case, model)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_a_stream_that_turns_out_to_be_empty_is_refused(model, method):
    empty = dataset().filter(lambda *_: False)
    with pytest.raises(ValueError, match=f"^{method}: `x` must hold at least one example, got an empty dataset"):
        getattr(model, method)(empty, verbose=0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("wrap", [lambda part: (part,), lambda part: (part, None), lambda part: part])
def test_any_iterator_is_predicted(model, wrap):
    found = model.predict(iter([wrap(X[:5]), wrap(X[5:])]), verbose=0)
    for name, outputs in model.predict(X, verbose=0).items():
        np.testing.assert_allclose(found[name], outputs, rtol=1e-5)


def test_a_bad_batch_behind_the_look_is_told_as_the_look_tells_it(model):
    def batches():
        for place in range(20):
            yield X, BELOW if place == 17 else Y

    with pytest.raises(ValueError, match=r"^fit: `y\['alive'\]` must lie in 0\.\.1, or be -1 where missing, got -2"):
        model.fit(batches(), verbose=0)


def test_a_bad_batch_behind_a_short_look_or_held_out_is_told(model):
    spoilt = np.where(np.arange(12)[:, None] == 11, np.nan, X).astype("float32")
    with pytest.raises(ValueError, match=r"^fit: `x` must be finite, got NaN or infinity in 1 of 12 examples"):
        model.fit(dataset(spoilt), check=1, verbose=0)
    with pytest.raises(ValueError, match=r"^fit\(validation_data\): `x` must be finite, got NaN or infinity in 1"):
        model.fit(dataset(), validation_data=dataset(spoilt), check=False, verbose=0)


def test_what_stops_a_step_is_told_by_the_look_that_was_left_out(model):
    with pytest.raises(
        ValueError, match=r"^fit: `y\['species'\]` must lie in 0\.\.3, or be -1 where missing, got 4\.\.7"
    ):
        model.fit(dataset(y=ABOVE), check=False, verbose=0)


def test_an_untrained_evaluation_of_tasks_without_scales_passes():
    found = compiled(run_eagerly=True).evaluate(X, {"alive": Y["alive"]}, verbose=0, return_dict=True)
    assert found["loss"] == found["alive_loss"] > 0


def test_what_has_no_label_at_all_has_no_loss(model):
    gone = {name: np.full_like(label, model.tasks[name].missing) for name, label in Y.items()}
    assert np.isnan(model.evaluate(X, gone, verbose=0)).all()
