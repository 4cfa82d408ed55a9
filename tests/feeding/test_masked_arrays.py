"""NumPy's masked arrays: what is behind the mask is a missing label."""

import numpy as np
import pytest
from toys import build, compiled, examples, tasks

from kmtl.data import from_arrays, from_shards, split, write_shards
from kmtl.data.partition.split import named_label

X, Y = examples(12)
HIDDEN = np.arange(12) % 3 == 0
MASKED = {
    name: np.ma.masked_array(label, np.broadcast_to(HIDDEN[(...,) + (None,) * (label.ndim - 1)], label.shape))
    for name, label in Y.items()
}
MISSING = {task.name: np.where(MASKED[task.name].mask, task.missing, Y[task.name]) for task in tasks()}


def test_a_masked_label_is_a_missing_one():
    models = [compiled(run_eagerly=True) for _ in range(2)]
    for model, labels in zip(models, (MASKED, MISSING), strict=True):
        model.fit(X, labels, shuffle=False, verbose=0)
    masked, missing = (model.evaluate(X, MISSING, verbose=0) for model in models)
    assert masked == missing
    np.testing.assert_allclose(models[0].scalers["age"].mean, [Y["age"][~HIDDEN].mean()], rtol=1e-6)
    assert models[0].evaluate(X, MASKED, verbose=0) == masked


def test_datasets_take_them_alike():
    _, labels = next(iter(from_arrays(X, MASKED, tasks(), batch_size=12)))
    for name, label in MISSING.items():
        np.testing.assert_array_equal(labels[name], label, err_msg=name)


def test_parts_and_shards_of_them_miss_the_same_labels(tmp_path):
    parts = split((X, MASKED), (0.5, 0.5), stratify=tasks())
    # Four of twelve are hidden, and what is missing is a stratum.
    assert [int(labels["age"].mask.sum()) for _, labels in parts] == [2, 2]
    assert named_label("species", MASKED["species"])[1].tolist() == MISSING["species"].tolist()
    write_shards([(X, MASKED)], tmp_path / "set", batched=True)
    ((_, labels),) = from_shards(tmp_path / "set", tasks(), batch_size=12)
    for name, label in MISSING.items():
        np.testing.assert_array_equal(labels[name], label, err_msg=name)


def test_inputs_behind_a_mask_are_refused(tmp_path):
    hidden = np.ma.masked_array(X, X > 0.5)
    for act, words in (
        (lambda: build().predict(hidden, verbose=0), "predict: `x` must be finite, got masked values"),
        (lambda: from_arrays(hidden, Y, tasks()), "from_arrays: `x` must be finite"),
        (lambda: from_arrays(X, Y, tasks(), sample_weight=hidden[:, 0]), "from_arrays: `sample_weight` must be finite"),
        (lambda: write_shards([(hidden, Y)], tmp_path / "set", batched=True), "write_shards: `dataset` must have all"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            act()


@pytest.mark.parametrize(
    ("task", "labels", "expected"),
    [
        (tasks()[0], np.ma.masked_array(np.array([3, 2], "uint8"), [True, False]), [-1, 2]),
        (tasks()[3], np.ma.masked_array([3, 2], [True, False]), [np.nan, 2]),
        (tasks()[3], np.ma.masked_array([3.0, 2.0]), [3, 2]),
    ],
)
def test_any_number_may_be_behind_a_mask(task, labels, expected):
    found = task.unmasked(labels)
    assert not np.ma.isMaskedArray(found)
    np.testing.assert_array_equal(found, expected)
