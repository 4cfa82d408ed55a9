"""What a model predicts of labelled data while it is trained."""

from typing import Any

import numpy as np

from kmtl.tasks import TaskSpace


def labelled_predictions(model: Any, data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels and predictions batch by batch, so that a dataset that reshuffles stays aligned.

    Args:
        model: A `MultiTaskModel`.
        data: A dataset of `(x, {task: label})` batches, or a tuple `(x, {task: labels})`.

    Returns:
        Labels by task, missing where they do not count, and predictions of the tasks that the data labels.
    """
    in_memory = isinstance(data, tuple)
    labels: dict[str, list[Any]] = {}
    outputs: dict[str, list[Any]] = {}
    for batch in [data] if in_memory else data:
        # An array of the user's is one batch to us, but many to the model.
        predicted = model.predict(batch[0], verbose=0) if in_memory else model.predict_on_batch(batch[0])
        for name, label in batch[1].items():
            labels.setdefault(name, []).append(np.asarray(label))
            # Of a single batch every replica predicts all rows, one replica's behind the other's.
            outputs.setdefault(name, []).append(np.asarray(predicted[name])[: len(label)])
    found = {name: np.concatenate(parts) for name, parts in labels.items()}
    predictions = {name: np.concatenate(parts) for name, parts in outputs.items()}
    return dict(TaskSpace(model.tasks.values()).mask(found)), predictions
