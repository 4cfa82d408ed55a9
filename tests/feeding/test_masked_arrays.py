"""NumPy's masked arrays: what is behind the mask is a missing label."""

import numpy as np
import pytest
from toys import compiled, examples, tasks

from kmtl.data import from_arrays

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
