"""Grain's datasets and torch's DataLoader train, evaluate and predict as the arrays that they were made of."""

import keras
import numpy as np
import pytest
from toys import assert_same_weights, compiled, examples, tasks

from kmtl._checks import Refusals
from kmtl.callbacks import BackupAndRestore
from kmtl.feeding import as_dataset, feed

# Of any set of unknown length Keras tells so at the end of the first pass.
pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")
X, Y = examples(20, hidden=0.3)
WEIGHTS = {"box": np.linspace(0.1, 2.0, 20), "species": np.arange(20) % 3}
SIZE = 8
TASKS = {task.name: task for task in tasks()}


def rows(*arrays):
    """Examples, one after another."""
    return [keras.tree.map_structure(lambda array, row=row: array[row], arrays) for row in range(20)]


def grain_map(*arrays):
    grain = pytest.importorskip("grain")
    return grain.MapDataset.source(rows(*arrays)).batch(SIZE)


def grain_loader(*arrays):
    grain = pytest.importorskip("grain")
    return grain.DataLoader(
        data_source=rows(*arrays),
        sampler=grain.samplers.IndexSampler(20, num_epochs=1, shuffle=False, seed=0),
        operations=[grain.transforms.Batch(SIZE)],
    )


def torch_loader(*arrays, **options):
    data = pytest.importorskip("torch.utils.data")
    return data.DataLoader(rows(*arrays), batch_size=SIZE, **options)


LOADERS = {
    "grain.MapDataset": grain_map,
    "grain.IterDataset": lambda *arrays: grain_map(*arrays).to_iter_dataset(),
    "grain.DataLoader": grain_loader,
    "torch.DataLoader": torch_loader,
}


MANY = [
    pytest.param("grain.DataLoader", marks=pytest.mark.long),
    # Read as a DataLoader is: batches of a number that is not known.
    pytest.param("grain.IterDataset", marks=pytest.mark.slow),
]


@pytest.fixture(params=["grain.MapDataset", "torch.DataLoader", *MANY])
def loader(request):
    """Makes one kind of loader of arrays."""
    return LOADERS[request.param]


def numbers(batches, count):
    """Inputs of the first batches."""
    return [batch[0].tolist() for batch in batches.take(count).as_numpy_iterator()]


def test_a_loader_trains_evaluates_and_predicts_as_arrays_do(loader):
    data, options = loader(X, Y, WEIGHTS), {"run_eagerly": True}
    one, other = compiled(**options), compiled(**options)
    plain = one.fit(X, Y, sample_weight=WEIGHTS, batch_size=SIZE, shuffle=False, epochs=2, verbose=0)
    found = other.fit(data, validation_data=loader(X, Y), epochs=2, verbose=0)
    assert_same_weights(one, other)
    for name, values in plain.history.items():
        np.testing.assert_allclose(found.history[name], values, rtol=1e-6, err_msg=name)
    exact = one.evaluate(X, Y, batch_size=SIZE, verbose=0, return_dict=True)
    assert other.evaluate(loader(X, Y), verbose=0, return_dict=True) == exact
    outputs = other.predict(loader(X), verbose=0)
    for name, value in one.predict(X, batch_size=SIZE, verbose=0).items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-6)


def test_the_stream_of_a_loader_goes_on_from_any_batch(loader):
    given = feed(loader(X, Y), None, None, TASKS, "fit", all_needed=True)
    stream = given.stream_from(0, batch_size=None, shuffle=True, seed=0).x
    later = given.stream_from(4, batch_size=None, shuffle=True, seed=0).x
    every = numbers(stream, 7)
    assert every[:3] == every[3:6] == numbers(given.x, 3)
    assert numbers(later, 3) == every[4:]


def test_a_loader_that_torch_shuffles_is_refused_where_training_may_go_on(tmp_path):
    shuffled, model = torch_loader(X, Y, shuffle=True), compiled(run_eagerly=True)
    model.fit(shuffled, verbose=0)
    with pytest.raises(ValueError, match=r"fit: `x` must give the same batches .* got a DataLoader that shuffles."):
        model.fit(shuffled, verbose=0, callbacks=[BackupAndRestore(tmp_path)])


def test_what_is_wrong_in_a_loader_is_told_as_of_any_data(loader):
    bad = {**Y, "species": np.full(20, 7), "ages": Y["age"]}
    del bad["age"]
    with pytest.raises(ValueError, match=r"(?s)'ages'. Did you mean 'age'.*must hold every task; missing: "):
        compiled().fit(loader(X, bad))
    with pytest.raises(ValueError, match=r"fit: `y\['species'\]` must lie in 0..3, or be -1 where missing"):
        compiled().fit(loader(X, {**Y, "species": np.full(20, 7)}))


def test_batches_of_unlike_lengths_and_texts_come_through():
    loader = torch_loader({"text": np.array(["good"] * 20), "table": X}, Y)
    refusals = Refusals("test")
    (x, y), *_ = as_dataset(refusals, "train", loader, TASKS).as_numpy_iterator()
    assert x["text"].tolist() == [b"good"] * SIZE
    np.testing.assert_array_equal(x["table"], X[:SIZE])
    np.testing.assert_array_equal(y["species"], Y["species"][:SIZE])


def test_an_empty_loader_and_single_examples_are_refused():
    grain = pytest.importorskip("grain")
    with pytest.raises(ValueError, match=r"fit: `x` must hold at least one batch, got an empty .*MapDataset"):
        compiled().fit(grain.MapDataset.source([]))
    with pytest.raises(ValueError, match="must yield batches, got single examples"):
        compiled().fit(grain.MapDataset.source(rows(X, Y)))
