"""Data that a user gets wrong, as a table: refused before the first step, in one form, all offenders at once."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from mistakes import Case, check_refused, parameters
from toys import build, compiled

from kmtl.callbacks import LossWeightScheduler

N = 12
X = np.random.default_rng(0).random((N, 6), dtype="float32")
Y = {"species": np.arange(N) % 4, "alive": np.arange(N) % 2, "box": X[:, :2] * 30, "age": X[:, 0] + 40}
AGE = Y["age"]
NAN = np.where(np.arange(N)[:, None] == 3, np.nan, X).astype("float32")


# Their spread is below the distance of two numbers in float32.
TIMES = 1.7e9 + 5.0 * np.arange(N)


def labels(**changes):
    """Good labels but for the changes; None takes a task out."""
    return {name: value for name, value in {**Y, **changes}.items() if value is not None}


def dataset(y=None, x=X, weights=None):
    """As tf.data."""
    parts = (x, Y if y is None else y)
    return tf.data.Dataset.from_tensor_slices(parts if weights is None else (*parts, weights)).batch(5)


class Batches(keras.utils.PyDataset):
    """The same batch again and again, `count` times or for ever."""

    def __init__(self, batch, count: int | None = 2):
        super().__init__()
        self.batch, self.count = batch, count

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        return self.batch


def fit(y=None, x=X, **options):
    """A case's act: fits arrays."""
    return lambda model: model.fit(x, Y if y is None else y, **options)


def data(y=None, x=X, weights=None, **options):
    """A case's act: fits a dataset."""
    return lambda model: model.fit(dataset(y, x, weights), **options)


def stream(*batches, **options):
    """A case's act: fits a generator."""
    return lambda model: model.fit(iter(batches), **options)


def batches(*given):
    """A case's act: fits a PyDataset."""
    return lambda model: model.fit(Batches(*given))


def same_for_validation(model):
    unlabelled = dataset(labels(alive=np.full(N, -1, "int32"), age=AGE.astype("float32"), species=Y["species"]))
    model.fit(unlabelled, validation_data=unlabelled)


ARRAYS = [
    Case("fit before compile", lambda _: build().fit(X, Y), "fit: `model` must be compiled | model.compile"),
    Case("evaluate before compile", lambda _: build().evaluate(X, Y), "evaluate: `model` must be compiled"),
    Case("missing key", fit(labels(age=None)), "`y` | missing: ['age'] | NaN or -1 | check=False"),
    Case("misspelt key", fit(labels(age=None, aeg=AGE)), "`y` | 'aeg'. Did you mean 'age'? | missing: ['age']"),
    Case("extra key", fit(labels(mass=AGE)), "`y` | 'mass' | Known: 'species', 'alive', 'box', 'age'"),
    Case("extra keys", fit(pd.DataFrame({**Y, "box": AGE, "q": AGE, "z": AGE})), "got 'q', 'z'. Known: 'species',"),
    Case("labels in a list", fit(list(Y.values())), "`y` | dict keyed by task name, got list | sorted name"),
    Case("one array of labels", fit(AGE), "`y` | dict keyed by task name, got ndarray | {'species': ..."),
    Case("no labels", lambda model: model.fit(X), "fit: `y` must be given | {task: labels}", TypeError),
    Case(
        "frame with another column", fit(pd.DataFrame({"specie": [0] * N})), "`y` | 'specie' | Did you mean 'species'?"
    ),
    Case("class out of range", fit(labels(species=Y["species"] + 1)), "`y['species']` | 0..3 | 1..4 | from 0"),
    Case("class below -1", fit(labels(alive=Y["alive"] - 2)), "`y['alive']` | 0..1 | -2..-2"),
    Case("class that would wrap around", fit(labels(species=Y["species"] + 2**32)), "`y['species']` | 0..3"),
    Case("float classes", fit(labels(species=AGE)), "`y['species']` | integers: it is a classification | float | -1"),
    Case("words for classes", fit(labels(alive=["yes"] * N)), "`y['alive']` must be numbers | Encode names"),
    Case("one-hot classes", fit(labels(species=np.eye(N, 4, dtype=int))), "`y['species']` | (12, 4) | numpy.argmax"),
    Case("timestamps", fit(labels(age=TIMES)), "`y['age']` must keep their digits in float32 | steps of 128 | offset"),
    Case(
        "times in float32", fit(labels(age=(1.7e9 + 60 * np.arange(N)).astype("float32"))), "digits in float32 | offset"
    ),
    Case(
        "times too close",
        data(labels(age=TIMES)),
        "`y['age']` must vary in float32 | steps of 128 | Subtract an offset",
    ),
    Case("vector too short", fit(labels(box=AGE)), "`y['box']` must have shape (batch, 2), got (12,)"),
    Case("ragged vector", fit(labels(box=[[1], [2, 3]] * 6)), "`y['box']` | numbers | (batch, 2)"),
    Case("too few labels", fit(labels(age=AGE[:5])), "`y['age']` must hold 12 labels | got 5"),
    Case("infinite label", fit(labels(age=np.full(N, np.inf))), "`y['age']` must be finite or NaN, got 12 infinite"),
    Case(
        "task without a label",
        fit(labels(alive=[-1] * N)),
        "`y['alive']` | somewhere | none in 12 | Leave the task out | check=False",
    ),
    Case("constant target", fit(labels(age=np.full(N, 3.3))), "`y['age']` must vary | standardize=False"),
    Case("half constant", fit(labels(box=np.stack([X[:, 0], [7] * N], 1))), "`y['box']` must vary | 0.0]"),
    Case("NaN in inputs", fit(x=NAN), "fit: `x` must be finite | 1 of 12 | Only labels may be missing"),
    Case("NaN in named inputs", fit(x={"image": NAN}), "`x['image']` must be finite | 1 of 12"),
    Case("infinity in inputs", fit(x=np.where(NAN == NAN, X, np.inf)), "fit: `x` must be finite | 1 of 12"),
    Case("masked inputs", fit(x=np.ma.masked_invalid(NAN)), "fit: `x` must be finite | 1 of 12"),
    Case("masked weights", fit(sample_weight=np.ma.masked_less(AGE, 40.1)), "`sample_weight['age']` must be finite"),
    Case("rows of unlike lengths", fit(x=np.array([[1], [2, 3]] * 6, object)), "`x` must be dense | Pad every example"),
    Case("ragged inputs", fit(x=tf.ragged.constant([[1.0], [2.0, 3.0]] * 6)), "`x` must be dense | a RaggedTensor"),
    Case("sparse inputs", fit(x=tf.sparse.from_dense(X)), "`x` must be dense | a SparseTensor | to_dense"),
    Case("None among labels", fit(labels(age=np.array([None, *AGE[1:]]))), "`y['age']` must be numbers | None as nan"),
    Case("bad classes unlooked", fit(labels(alive=Y["alive"] - 2), check=False), "`y['alive']` | 0..1 | -2..-2"),
    Case("infinity unlooked", fit(x=np.where(NAN == NAN, X, np.inf), check=False), "fit: `x` must be finite"),
    Case("validation in four parts", fit(validation_data=(X, Y, None, Y)), "`validation_data` | (x, y) | 4 parts"),
    Case("input too narrow", fit(x=X[:, :5]), "fit: `x` must have shape (batch, 6), got (12, 5)"),
    Case("input misspelt", fit(x={"imag": X}), "fit: `x` | ['imag'] | Name it 'image'"),
    Case("two inputs", fit(x=[X, X]), "fit: `x` must hold one array an input: ['image'], got 2 values"),
    Case("rows in lists", fit(x=X.tolist()), "`x` must hold one array an input: ['image'], got 72 values | array(x)"),
    Case("rows in lists of unlike lengths", fit(x=[[1], [2, 3]] * 6), "`x` must hold one array | padded where"),
    Case("text for inputs", fit(x=X.astype(str)), "fit: `x` must be numbers | Cast it to float32"),
    Case("more labels than inputs", fit(x=X[:5]), "`y['species']` | 5 labels | got 12 | `y['age']`"),
    Case(
        "no examples", fit({name: value[:0] for name, value in Y.items()}, X[:0]), "`x` | at least one example | empty"
    ),
    Case("weights in a list", fit(sample_weight=[AGE]), "`sample_weight` must be one array or a dict | list"),
    Case("weights misspelt", fit(sample_weight={"bx": AGE}), "`sample_weight` | 'bx' | Did you mean 'box'?"),
    Case("negative weights", fit(sample_weight={"age": -AGE}), "`sample_weight['age']` | at least 0 | 12 of 12"),
    Case("weights of NaN", fit(sample_weight=np.full(N, np.nan)), "`sample_weight['box']` must be finite"),
    Case("too few weights", fit(sample_weight=np.ones(3)), "`sample_weight['age']` must hold 12 weights | got 3"),
    Case("one number for weights", fit(sample_weight=2.0), "`sample_weight['age']` must be one number an example"),
    Case("flat class weights", fit(class_weight={0: 1.0}), "`class_weight` must use task names as keys, got 0"),
    Case("unknown class", fit(class_weight={"species": {4: 2.0}}), "`class_weight['species']` | 0..3 | 4: 2.0"),
    Case("negative class weight", fit(class_weight={"alive": {1: -2}}), "`class_weight['alive']` | at least 0 | 1: -2"),
    Case(
        "class weight of 1e300", fit(class_weight={"alive": {1: 1e300}}), "`class_weight['alive']` | float32 | 1e+300"
    ),
    Case("class weights of a number", fit(class_weight={"age": "balanced"}), "`class_weight['age']` | `sample_weight`"),
    Case(
        "other word for balanced", fit(class_weight={"alive": "even"}), "`class_weight['alive']` | 'balanced' | 'even'"
    ),
    Case("class weights in an array", fit(class_weight={"species": np.ones(4)}), "`class_weight['species']` | dict"),
    Case("all held out", fit(validation_split=1.0), "`validation_split` must be a share in (0, 1) | 1.0"),
    Case("none held out", fit(validation_split=-0.5), "`validation_split` must be a share in (0, 1) | -0.5"),
    Case(
        "bad label held out",
        fit(labels(species=[0] * 11 + [9]), validation_split=0.2),
        "(validation_data): `y['species']` | 9",
    ),
    Case(
        "validation misspelt", fit(validation_data=(X, {"aeg": AGE})), "fit(validation_data): `y` | 'aeg' | mean 'age'?"
    ),
    Case("validation in two lengths", fit(validation_data=(X[:4], Y)), "fit(validation_data): `y['age']` | 4 labels"),
    Case("word for a check", fit(check="yes"), "fit: `check` | number of batches | 'yes'"),
    Case("nothing to check", fit(check=0), "fit: `check` | number of batches | got 0"),
    Case(
        "a batch before statistics",
        lambda model: model.train_on_batch(X, Y),
        "train_on_batch: `tasks` | ['box', 'age']",
    ),
    Case(
        "monitor of no task", fit(callbacks=keras.callbacks.EarlyStopping("val_agee_mae")), "`monitor` | 'val_agee_mae'"
    ),
    Case(
        "many at once",
        fit({"specie": AGE, "box": AGE, "alive": AGE, "age": [1]}, X[:, :5]),
        "`x` | 'specie' | missing: ['species'] | `y['box']` | `y['alive']`",
    ),
]

STREAMS = [
    Case("single examples", lambda model: model.fit(dataset().unbatch()), "`x` must yield batches | dataset.batch"),
    Case(
        "labels beside a stream", lambda model: model.fit(dataset(), Y), "`y` must not be given beside a stream | dict"
    ),
    Case("weights beside a stream", data(sample_weight=X), "`sample_weight` must not be given beside a stream"),
    Case("inputs alone", lambda model: model.fit(dataset().map(lambda x, _: x)), "`x` must yield (x, {task: label})"),
    Case("labels in a tuple", data((AGE, AGE)), "`y` must be a dict keyed by task name, got tuple | sorted name"),
    Case("missing key", data(labels(age=None)), "`y` | missing: ['age'] | check=False"),
    Case("misspelt key", data(labels(age=None, aeg=AGE)), "'aeg'. Did you mean 'age'? | missing: ['age']"),
    Case("extra key", data(labels(mass=AGE)), "`y` | 'mass' | Known: 'species'"),
    Case("float classes", data(labels(alive=AGE)), "`y['alive']` must be integers | float"),
    Case("vector too short", data(labels(box=AGE)), "`y['box']` must have shape (batch, 2), got (None,)"),
    Case("nested labels", data(labels(age={"in": AGE})), "`y['age']` must be a dense tensor, got dict"),
    Case("class out of range", data(labels(species=Y["species"] + 1)), "`y['species']` | 0..3 | 1..4"),
    Case("class that would wrap around", data(labels(alive=Y["alive"] + 2**32)), "`y['alive']` | 0..1"),
    Case("task without a label", data(labels(age=np.full(N, np.nan))), "`y['age']` | none in 12 | Leave the task out"),
    Case("task without a label, also in validation", same_for_validation, "fit: `y['alive']` | none in 12"),
    Case("constant target", data(labels(age=np.full(N, 3.3))), "`y['age']` must vary | standardize=False"),
    Case("NaN in inputs", data(x=NAN), "fit: `x` must be finite | 1 of 12"),
    Case("input too narrow", data(x=X[:, :5]), "fit: `x` must have shape (batch, 6), got (None, 5)"),
    Case("no batches", lambda model: model.fit(dataset().take(0)), "`x` must hold at least one example | empty"),
    Case("negative weights", data(weights={"age": -AGE}), "`sample_weight['age']` | at least 0 | 12 of 12"),
    Case(
        "infinite weights",
        data(weights=AGE * np.inf),
        "`sample_weight['age']` must be finite | `sample_weight['species']`",
    ),
    Case("weights misspelt", data(weights={"aeg": AGE}), "`sample_weight` | 'aeg' | Did you mean 'age'?"),
    Case("no end", lambda model: model.fit(dataset().repeat()), "fit: `steps_per_epoch` | without end | take(n)"),
    Case("validation without end", fit(validation_data=dataset().repeat()), "fit: `validation_steps` | without end"),
    Case("evaluation without end", lambda model: model.evaluate(dataset().repeat()), "evaluate: `steps` | without end"),
    Case(
        "no batch of statistics",
        lambda model: model.adapt(X, labels(), steps=-1),
        "adapt: `steps` | at least 1, got -1",
    ),
    Case("statistics without end", lambda model: model.adapt(dataset().repeat()), "adapt: `steps` | without end"),
    Case(
        "misspelt steps",
        lambda model: model.adapt(X, labels(), step=1),
        "adapt: `step` | got 1 | Did you mean 'steps'?",
        TypeError,
    ),
    Case(
        "statistics of no label",
        lambda model: model.adapt(dataset(labels(age=AGE * np.nan))),
        "adapt: `y['age']` | none in 12",
    ),
    Case(
        "statistics that nobody learned",
        data(check=False),
        "fit: `tasks` | mean and scale | ['box', 'age'] | model.adapt",
    ),
    Case("balanced uncounted", data(class_weight={"alive": "balanced"}, check=False), "`tasks` | mean and scale"),
    Case("ragged inputs", data(x=tf.ragged.constant([[1.0], [2.0, 3.0]] * 6)), "`x` must be dense | RaggedTensorSpec"),
    Case("split of a stream", data(validation_split=0.5), "`validation_split` needs arrays | `validation_data`"),
    Case("generator of lists", stream([X, Y]), "`x` must yield tuples | list"),
    Case("generator misspelt", stream((X, Y), (X, {"aeg": AGE})), "`y` | 'aeg' | Did you mean 'age'?"),
    Case("generator of nothing", stream(), "`x` must hold at least one example | empty"),
    Case("generator of bad classes", stream((X, Y), (X, labels(alive=Y["alive"] + 1))), "`y['alive']` | 0..1 | 0..2"),
    Case("generator of narrow inputs", stream((X[:, 1:], Y)), "fit: `x` must have shape (batch, 6), got (12, 5)"),
    Case("PyDataset of four parts", batches((X, Y, None, None)), "`x` must yield tuples | tuple of 4"),
    Case("PyDataset without a key", batches((X, labels(age=None))), "`y` | missing: ['age']"),
    Case("PyDataset without end", batches((X, Y), None), "`steps_per_epoch` | without end"),
]


ODD_LOOPS = {
    "epochs": [-1, 1.5, "2"],
    "initial_epoch": [-1, None],
    "batch_size": [0, -1, 2.5],
    "steps_per_epoch": [0, -1, 1.5],
    "validation_steps": [-1],
    "validation_batch_size": [0],
    "validation_freq": [0, -1, 2.5, [0]],
    "shuffle": ["yes"],
}
LOOPS = [
    *(
        Case(f"{name}={value!r}", fit(**{name: value}), f"fit: `{name}` must be | got {value!r}")
        for name, values in ODD_LOOPS.items()
        for value in values
    ),
    Case(
        "many at once",
        fit(epochs=1.5, batch_size=2.5, shuffle="yes"),
        "`epochs` must be | `batch_size` must be | `shuffle` must be",
    ),
    Case("class of callbacks", fit(callbacks=[keras.callbacks.TerminateOnNaN]), "`callbacks` | TerminateOnNaN(...)"),
    Case("text for a callback", fit(callbacks="EarlyStoping"), "`callbacks` | 'EarlyStoping' | mean 'EarlyStopping'?"),
    Case("name of a callback", fit(callbacks="EarlyStopping"), "`callbacks` | keras.callbacks.EarlyStopping(...)"),
    Case("function for a callback", fit(callbacks=[print]), "`callbacks` | LambdaCallback"),
    Case("misspelt option", fit(epoch=2), "fit: `epoch` | got 2 | Did you mean 'epochs'?", TypeError),
    Case(
        "schedule of a constant",
        lambda _: LossWeightScheduler({"age": 0.5}),
        "`schedule['age']` must be a function, got 0.5 | compile(loss_weights=...)",
        TypeError,
    ),
]


@pytest.fixture(scope="module")
def model():
    return compiled()


@pytest.mark.parametrize("case", parameters(arrays=ARRAYS, streams=STREAMS, loops=LOOPS))
def test_refused_before_the_first_step(case, model):
    check_refused(case, model)


def test_the_refused_model_still_trains(model):
    model.fit(dataset(), verbose=0)
    assert model.optimizer.iterations == 3
