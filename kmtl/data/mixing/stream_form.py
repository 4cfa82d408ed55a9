"""What the sources of a mixed stream have in common, and how each is filled up to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals, near, words
from kmtl.data.dataset_labels import dataset_label
from kmtl.data.task_names import task_list
from kmtl.tasks.labels import Label
from kmtl.tasks.shapes import known_shape

_NONE = "Inputs without labels stand under ()."
_UNBATCH = "If the dataset is batched, call .unbatch() first."


@dataclass(frozen=True)
class LabelForm:
    """One task's label in a stream.

    Args:
        label: The task, or what a dataset tells of its label.
        shape: Shape of one label; None is a side that no dataset fixes.
    """

    label: Label
    shape: tuple[int | None, ...]

    def missing(self) -> Any:
        """A label that is not there."""
        return tf.ensure_shape(
            tf.broadcast_to(self.label.absent_label_tensor(1)[0], known_shape(self.shape)), self.shape
        )

    def cast(self, value: Any) -> Any:
        """A label in the task's dtype, with its static shape."""
        if None not in self.shape and value.shape.rank is not None:
            value = tf.reshape(value, self.shape)
        return self.label.cast_label_tensor(tf.ensure_shape(value, self.shape))

    def joined(self, other: "LabelForm") -> "LabelForm | None":
        """The form of labels of either; None if they cannot stand in one batch."""
        shapes = tf.TensorShape(self.shape), tf.TensorShape(other.shape)
        if self.label.label_dtype != other.label.label_dtype or not shapes[0].is_compatible_with(shapes[1]):
            return None
        return LabelForm(self.label, tuple(shapes[0].merge_with(shapes[1]).as_list()))

    def __str__(self) -> str:
        return f"{self.label.label_dtype} of shape {self.shape}"


@dataclass(frozen=True)
class StreamForm:
    """The labels of every example of a mixed stream.

    Args:
        labels: Form of each task's label, in task order.
        weighted: Whether examples carry sample weights.
    """

    labels: dict[str, LabelForm]
    weighted: bool

    def fill(self, dataset: Any, key: Any) -> Any:
        """Gives every example of one source the labels, and the weights, of all tasks.

        Args:
            dataset: Unbatched, as `common_form` accepted it.
            key: Its task or tuple of tasks.

        Returns:
            A `tf.data.Dataset` of `(x, {every task: label})`, with weights if any source has them.
        """
        names = _names(key)

        def complete(x: Any, given: Any, *weights: Any) -> Any:
            carried = given if isinstance(given, Mapping) else {names[0]: given}
            labels = {name: self._label(name, carried) for name in self.labels}
            return (x, labels, self._weights(names, *weights)) if self.weighted else (x, labels)

        return dataset.map(complete)

    def _label(self, name: str, carried: Mapping[str, Any]) -> Any:
        """One task's label: the source's own or the missing one."""
        form = self.labels[name]
        return form.cast(carried[name]) if name in carried else form.missing()

    def _weights(self, names: Sequence[str], given: Any = 1.0) -> dict[str, Any]:
        """A weight a task: the source's own, else 1."""
        own = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
        return {name: tf.ensure_shape(tf.cast(own.get(name, 1.0), tf.float32), ()) for name in self.labels}


def common_form(owner: str, datasets: Any, tasks: Any) -> StreamForm:
    """Finds the form that all sources share, or refuses every source that does not fit.

    Args:
        owner: Who asks, for the message.
        datasets: Task or tuple of tasks to an unbatched `tf.data.Dataset`.
        tasks: The tasks; None derives the forms from the datasets.

    Returns:
        The labels and whether there are weights.

    Raises:
        ValueError: With all offenders at once.
    """
    with Refusals(owner) as refusals:
        if not isinstance(datasets, Mapping) or not datasets:
            fix = "For example {'digit': digits, ('angle', 'scale'): poses}."
            refusals.add("datasets", "must map tasks to datasets", words(type(datasets).__name__), fix)
            refusals.check()
        listed = None if tasks is None else task_list(refusals, tasks)
        wanted: dict[str, Label] | None = None if listed is None else {task.name: task for task in listed}
        labels: dict[str, LabelForm] = {}
        for key, dataset in datasets.items():
            if _is_source(refusals, key, dataset):
                _collect(refusals, key, dataset.element_spec, wanted, labels)
        for name in wanted or ():
            if name not in labels and not refusals.messages:
                refusals.add("tasks", "must each have a dataset that carries its label", name)
        if not labels and not refusals.messages:
            refusals.add("datasets", "must carry labels", list(datasets), _NONE)
        refusals.check()
        _check_inputs(refusals, datasets)
    weighted = any(len(dataset.element_spec) == 3 for dataset in datasets.values())
    return StreamForm(labels if wanted is None else {name: labels[name] for name in wanted}, weighted)


def _names(key: Any) -> tuple[str, ...]:
    """The tasks that a key stands for."""
    return (key,) if isinstance(key, str) else tuple(key)


def _is_source(refusals: Refusals, key: Any, dataset: Any) -> bool:
    """Records a key or a dataset that cannot be a source."""
    before = len(refusals.messages)
    names = _names(key) if isinstance(key, str | tuple) else (None,)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        refusals.add("datasets", "must use a task's name or a tuple of different names as key", key, _NONE)
    elif not isinstance(dataset, tf.data.Dataset):
        refusals.add(f"datasets[{key!r}]", "must be a tf.data.Dataset", words(type(dataset).__name__))
    elif not isinstance(dataset.element_spec, tuple) or len(dataset.element_spec) not in (2, 3):
        refusals.add(f"datasets[{key!r}]", "must hold (x, label) or (x, label, weight)", dataset.element_spec)
    elif _is_empty(dataset):
        refusals.add(f"datasets[{key!r}]", "must hold at least one example", 0)
    return len(refusals.messages) == before


def _is_empty(dataset: Any) -> bool:
    """Tells whether a dataset has no example; looks at the first one where the cardinality is unknown."""
    if dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY:
        return next(iter(dataset.take(1)), None) is None
    return bool(dataset.cardinality() == 0)


def _collect(
    refusals: Refusals,
    key: Any,
    spec: tuple[Any, ...],
    wanted: Mapping[str, Label] | None,
    labels: dict[str, LabelForm],
) -> None:
    """Adds the forms of one source's labels to `labels`, or records what is wrong with them."""
    names, given = _names(key), spec[1]
    if not isinstance(given, Mapping):
        given = {names[0]: given} if isinstance(key, str) else {}
    if set(given) != set(names) or not (names or isinstance(spec[1], Mapping)):
        rule = f"must hold labels for exactly {list(names)}, as (x, {{task: label}})"
        refusals.add(f"datasets[{key!r}]", rule, list(given) or spec[1])
        return
    for name in names:
        argument = f"datasets[{key!r}]"
        if wanted is not None and name not in wanted:
            refusals.add("datasets", "must use task names as keys", name, near(name, wanted))
            continue
        form = _form(refusals, argument, name, given[name], None if wanted is None else wanted[name])
        if form is None:
            continue
        both = labels.get(name, form).joined(form)
        if both is None:
            rule = f"must hold labels of {name!r} as another dataset does, {labels[name]}"
            refusals.add(argument, rule, words(str(form)))
        else:
            labels[name] = both


def _form(refusals: Refusals, argument: str, name: str, spec: Any, task: Label | None) -> LabelForm | None:
    """The form of one label, or None once a refusal is recorded."""
    if not isinstance(spec, tf.TensorSpec) or not (
        spec.dtype.is_integer or spec.dtype.is_floating or spec.dtype.is_bool
    ):
        refusals.add(argument, f"must hold numbers as label of {name!r}", spec)
        return None
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    if task is None:
        if shape is None or None in shape:
            refusals.add(argument, f"must have a static label shape for {name!r}", spec.shape.as_list(), _UNBATCH)
            return None
        return LabelForm(dataset_label(name, spec.dtype, shape), shape)
    before = len(refusals.messages)
    if shape is not None and len(shape) == len(task.label_shape) + 1 and shape[0] is None:
        refusals.add(argument, f"must hold single examples, not batches, of {name!r}", shape, _UNBATCH)
    else:
        known = task.label_shape if shape is None else shape
        # NumPy has no bfloat16.
        dtype = "float32" if spec.dtype.is_floating else spec.dtype.as_numpy_dtype
        task.check_labels(refusals, argument, dtype, (None, *known))
    return _of_task(task, shape) if len(refusals.messages) == before else None


def _of_task(task: Label, shape: tuple[int | None, ...] | None) -> LabelForm:
    """The form of a task's label, with the sizes that the dataset knows where the task leaves them open."""
    if shape is None or None not in task.label_shape:
        return LabelForm(task, tuple(task.label_shape))
    return LabelForm(task, shape)


def _check_inputs(refusals: Refusals, datasets: Mapping[Any, Any]) -> None:
    """Records every source whose inputs differ from the first source's in structure, dtype or shape."""
    (first_key, first), *rest = ((key, dataset.element_spec[0]) for key, dataset in datasets.items())
    for key, spec in rest:
        if not _agree(first, spec):
            rule = f"must hold inputs like those of {first_key!r}, {first}"
            refusals.add(f"datasets[{key!r}]", rule, spec)


def _agree(first: Any, second: Any) -> bool:
    """Tells whether two input specs can stand in one batch."""
    try:
        tf.nest.assert_same_structure(first, second)
    except (TypeError, ValueError):
        return False
    pairs = zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True)
    return all(a.dtype == b.dtype and a.shape.is_compatible_with(b.shape) for a, b in pairs)
