"""Labels outside of their task's space, as missing."""

from collections.abc import Iterable
from typing import Any

from kmtl.data.dataset_labels import label_specs
from kmtl.feeding.resume import transform_stream
from kmtl.tasks import Task, TaskSpace


def in_task_space(dataset: Any, tasks: Iterable[Task]) -> Any:
    """The same batches, a label missing wherever its task's `where` does not hold.

    A model with all of the tasks does so by itself. A model without the ones that a condition names trains on this,
    with `task.alone()`.

    Args:
        dataset: A `tf.data.Dataset` of batches `(x, {task: label})`, with or without weights.
        tasks: The tasks, those that conditions name among them.

    Returns:
        A `tf.data.Dataset` of the same structure; `dataset` itself where no task has a condition.

    Raises:
        ValueError: If a condition cannot hold.

    >>> import kmtl
    >>> tasks = [kmtl.BinaryClassification("face"), kmtl.Regression("age", where={"face": 1})]
    >>> labels = {"face": [1, 0], "age": [30.0, 50.0]}
    >>> faces = kmtl.data.from_arrays([[0.0], [1.0]], labels, tasks, batch_size=2)
    >>> [y["age"].numpy().tolist() for _, y in in_task_space(faces, tasks)]
    [[30.0, nan]]
    """
    tasks = list(tasks)
    if not any(task.where for task in tasks):
        return dataset
    space = TaskSpace(tasks, "in_task_space")
    label_specs("in_task_space", dataset)
    return transform_stream(dataset, lambda given: given.map(lambda x, y, *weights: (x, dict(space.mask(y)), *weights)))
