"""Brings labelled or bare samples into batches that a model and its artifact are both run on."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from kmtl import _checks
from kmtl.export import sampling
from kmtl.feeding import InputForm, feed
from kmtl.feeding.label_statistics import DataStatistics, check_statistics

# Gives batches of inputs by name and labels by task, from the start whenever it is called.
Batches = Callable[[], Iterable[tuple[dict[str, Any], dict[str, Any]]]]


def unlabelled_batches(arrays: dict[str, Any]) -> Batches:
    """Returns arrays by input name as one batch without labels."""
    return lambda: [(arrays, {})]


def labelled_batches(refusals: _checks.Refusals, model: Any, x: Any, y: Any = None) -> Batches:
    """Returns labelled data as batches and records what does not fit: labels by a pass, inputs by the first batch.

    Labels that a task cannot have would be scored all the same, and equally badly by model and file.

    Args:
        refusals: Where to record.
        model: A functional model that knows its tasks.
        x: Arrays, or a `tf.data.Dataset` of batches `(x, {task: labels})`.
        y: `{task: labels}`; None for a dataset.
    """
    if not getattr(model, "tasks", None):
        fix = "Adopt it with kmtl.MultiTaskModel.from_model(model, tasks), or leave the labels out."
        got = _checks.words(type(model).__name__)
        refusals.add("model", "must know its tasks, to be measured on labels", got, fix)
        return list
    try:
        given = feed(x, y, None, model.tasks, refusals.owner, all_needed=False, form=InputForm.of(model.input))
    except (TypeError, ValueError) as error:
        refusals.messages.append(str(error))
        return list
    if given.size == math.inf:
        refusals.add("x", "must end", _checks.words("a dataset without end"), "Cut it with take(n).")
        return list
    _refuse_content(refusals, model, given)
    return lambda: ((_checked(refusals.owner, model, batch[0]), batch[1]) for batch in given.batches(None))


def _refuse_content(refusals: _checks.Refusals, model: Any, given: Any) -> None:
    """Records inputs that do not fit, as far as the first batch shows it, and labels that a task cannot have."""
    first = next(iter(given.batches(1)), None)
    if first is None:
        refusals.add("x", "must hold at least one batch", _checks.words("none"))
        return
    _arrays(refusals, model, first[0])
    try:
        check_statistics(DataStatistics.of(model.tasks, given.batches(None)), (), refusals.owner, all_needed=False)
    except ValueError as error:
        refusals.messages.append(str(error))


def _checked(owner: str, model: Any, given: Any) -> dict[str, Any]:
    """Returns a later batch's inputs by name, or refuses them."""
    with _checks.Refusals(owner) as refusals:
        return _arrays(refusals, model, given)


def _arrays(refusals: _checks.Refusals, model: Any, given: Any) -> dict[str, Any]:
    """Returns a batch's inputs by the names of the `Input` layers, whatever structure the model was built on."""
    if isinstance(given, Mapping):
        names = {key: tensor.name for key, tensor in model.input.items()} if isinstance(model.input, Mapping) else {}
        known = {names.get(key, key): values for key, values in given.items()}
        given = {tensor.name: known[tensor.name] for tensor in model.inputs if tensor.name in known}
    else:
        given = dict(zip((tensor.name for tensor in model.inputs), keras.tree.flatten(given), strict=False))
    return sampling.arrays(refusals, model, given, argument="x")
