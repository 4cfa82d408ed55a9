"""Heads of one kernel, and their mean."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
from keras import ops

from kmtl._checks import Refusals, near, refusal, require, task_name, whole, words
from kmtl.sharing.branches import checked_shapes, either_mask, in_order, merged_sides
from kmtl.tasks import Task


@keras.saving.register_keras_serializable(package="kmtl")
class AveragedHeads(keras.layers.Layer):
    r"""Two or more branches read by one kernel with a bias each, and the mean of what they say.

        o_i = act(W x_i + b_i),    o_mean = (o_1 + ... + o_n) / n

    Each is an output of a task of its own: a loss on the mean alone cannot tell the branches apart. Of sigmoids the
    mean is a probability, of softmaxes a distribution, and its cross-entropy is at most the mean of theirs.

    Shapes: `{name: (batch, ..., width)}` in; `{name: (batch, ..., units), ..., mean: (batch, ..., units)}` out.

    Args:
        names: The branches, which are also the names of their outputs.
        mean: Name of their mean.
        units: Width of an output.
        activation: Of the outputs.
        kernel_regularizer: Of the kernel.
        **kwargs: Keras layer options; outputs are float32 under every policy.

    Raises:
        ValueError: If a name is there twice, or a branch is missing or has another width than the others.

    >>> import kmtl
    >>> tasks = [kmtl.MultiLabel(name, labels=5) for name in ("read", "bought", "wanted")]
    >>> row = keras.Input((8,))
    >>> towers = {name: keras.layers.Dense(16, activation="relu")(row) for name in ("read", "bought")}
    >>> outputs = AveragedHeads.from_tasks(tasks, mean="wanted")(towers)
    >>> list(kmtl.MultiTaskModel(row, outputs, tasks=tasks).output)
    ['read', 'bought', 'wanted']
    """

    def __init__(
        self,
        names: Sequence[str],
        mean: str,
        units: int,
        *,
        activation: Any = "sigmoid",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.names = [task_name("AveragedHeads", name) for name in names]
        self.mean = task_name("AveragedHeads", mean)
        differ = len(self.names) > 1 and len({*self.names, self.mean}) == len(self.names) + 1
        rule = "must be two or more, all different, and none the mean's"
        require(differ, "AveragedHeads", "names", rule, words(f"{self.names} and {self.mean!r}"))
        self.units = whole("AveragedHeads", "units", units, 1)
        self.activation = keras.activations.get(activation)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    @classmethod
    def from_tasks(cls, tasks: Sequence[Task], *, mean: str, **kwargs: Any) -> Self:
        """Makes the layer for tasks: width and activation are what they want of an output.

        The output of a regression is in the label's own unit, as of any head that kmtl does not build.

        Args:
            tasks: The branches' tasks and that of the mean, of one kind of output.
            mean: Name of the task that the mean is for.
            **kwargs: As of the layer.

        Raises:
            ValueError: If there is no such task, they want unlike outputs, or one asks for a head of its own.
        """
        owner = "AveragedHeads"
        listed = isinstance(tasks, Sequence) and bool(tasks) and all(isinstance(task, Task) for task in tasks)
        require(listed, owner, "tasks", "must be a list of tasks", tasks, "The branches', and that of their mean.")
        first = tasks[0]
        names = [task.name for task in tasks]
        require(mean in names, owner, "mean", "must be one of the tasks", mean, near(str(mean), names))
        with Refusals(owner) as refusals:
            for task in tasks:
                if task.own_output_layer:
                    rule, got = "must have outputs that one dense layer gives", words(f"{task.owner}: {task.meaning}")
                    refusals.add("tasks", rule, got, "Average the predictions of several models: Bagging.")
                wants = (task.final_activation, task.output_shape)
                if wants != (first.final_activation, first.output_shape):
                    rule = f"must want the output of {first.name!r}: {first.final_activation}, {first.output_shape}"
                    refusals.add("tasks", rule, words(f"{task.name!r}: {wants[0]}, {wants[1]}"))
                head = ("hidden", "dropout", "l1", "l2", "product_of")
                if given := [option for option in head if getattr(task, option)]:
                    fix = "Build layers into the branches; `kernel_regularizer` is an argument here."
                    refusals.add("tasks", "must ask for no head", words(f"{task.name!r} with {given}"), fix)
        own = [name for name in names if name != mean]
        return cls(own, mean, first.units, activation=first.final_activation, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Makes the kernel, and a bias a branch."""
        if not isinstance(input_shape, Mapping) or set(input_shape) != set(self.names):
            got = words(str(list(input_shape)) if isinstance(input_shape, Mapping) else f"shape {input_shape}")
            fix = "The mean is made here."
            rule = f"must be a dict of tensors by the names {self.names}"
            raise ValueError(refusal("AveragedHeads", "inputs", rule, got, fix))
        fix = "One kernel reads them: end each in a layer of one width."
        checked_shapes("AveragedHeads", input_shape, one_width=fix)
        width = input_shape[self.names[0]][-1]
        self.kernel = self.add_weight(shape=(width, self.units), regularizer=self.kernel_regularizer, name="kernel")
        self.biases = [
            self.add_weight(shape=(self.units,), initializer="zeros", name=f"bias_{name}") for name in self.names
        ]

    def call(self, inputs: Any) -> dict[str, Any]:
        """Computes the outputs and their mean.

        Args:
            inputs: A tensor a branch, by its name.
        """
        outputs = {
            name: self.activation(ops.matmul(inputs[name], self.kernel) + bias)
            for name, bias in zip(self.names, self.biases, strict=True)
        }
        total = outputs[self.names[0]]
        for name in self.names[1:]:
            total = total + outputs[name]
        return {**outputs, self.mean: total / len(self.names)}

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of padding of each branch; of the mean, where every branch has one."""
        del inputs
        return None if previous_mask is None else {**previous_mask, self.mean: either_mask(previous_mask)}

    def compute_output_shape(self, input_shape: Any) -> dict[str, Any]:
        """The sides of the branches, and the units, for each and the mean."""
        return dict.fromkeys([*self.names, self.mean], (*merged_sides(in_order(input_shape)), self.units))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {
            "names": self.names,
            "mean": self.mean,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
        return {**super().get_config(), **own}
