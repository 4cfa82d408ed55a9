"""Labels of several tasks fused into one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import Refusals, require, sizes, whole, words
from kmtl._keras_private import layer_behind
from kmtl.feeding.resume import transform_stream
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.tasks import FusedHeads, Task
from kmtl.tasks.combinations import Combination, Marginal, encode, exclusive_classes
from kmtl.training.output_sum import linear_outputs, same_balancer
from kmtl.training.recipe import Recipe, share
from kmtl.training.shared_trunk import shared_trunk
from kmtl.training.work import Work

_FORMS = ("powerset", "concat")
# Whole numbers up to here are exact in float32, in which losses take labels.
_MOST_CODES = 2**24


class LabelFusion(Recipe):
    """One head for the labels of several tasks together.

    `form="powerset"`: the tasks whose label is one of exclusive classes, C_1 .. C_K of them, get one softmax over all
    C_1 * ... * C_K combinations, and so a model of how their labels depend on each other given the input, which heads
    of their own cannot be. The outputs of the result are the marginals

        p(y_1 | x) = sum over y_2 .. y_K of p(y_1, y_2, .., y_K | x)

    and the training's loss is the exact likelihood of the labels that are there,

        -log sum over the combinations that agree with the known labels of p(combination | x),

    the mean over the rows that have a label of any of these tasks; a sample weight by task counts as the mean of those
    of the labels that are there. Other tasks keep heads of their own. With one task of exclusive classes only, this is
    plain joint training.

    `form="concat"`: one target y = [y_1, .., y_K] and one kernel for all outputs, each part with its own activation and
    loss. As the columns of a kernel do not see each other, this trains what plain joint heads without hidden layers
    train, and differs by the draw of the first weights, whose range follows the width of the whole kernel, and in that
    a balancer of gradients counts the kernel as shared. It is here to be measured, not for a gain.

    The build function is given a task of the combinations in place of the fused ones, so it must take tasks as they
    come. The result's loss, when it is trained or tested further, is that of the tasks one by one.

    Cost: 1.

    Row S0-05 of the articles, which says "fuse the labels" and not how; the powerset's classes multiply, which it does
    not mention. Powersets: Tsoumakas and Katakis, "Multi-Label Classification: An Overview", IJDWM 2007.

    Args:
        form: `"powerset"` or `"concat"`.
        limit: Most combinations that a powerset may have.
        hidden: Units of hidden layers of the powerset's head.
        epochs: As a multiple of the given epochs.

    >>> LabelFusion("powerset", limit=1000)
    LabelFusion(limit=1000)
    """

    source = "Tsoumakas and Katakis, Multi-Label Classification: An Overview, IJDWM 2007"

    def __init__(
        self, form: str = "powerset", *, limit: int = 256, hidden: int | Sequence[int] = (), epochs: float = 1.0
    ) -> None:
        require(form in _FORMS, "LabelFusion", "form", "must be 'powerset' or 'concat'", form)
        self.form = form
        self.limit = whole("LabelFusion", "limit", limit, 2)
        self.hidden = sizes("LabelFusion", "hidden", hidden)
        require(not hidden or form == "powerset", "LabelFusion", "hidden", "must be left out with 'concat'", hidden)
        self.epochs = share("LabelFusion", "epochs", epochs)

    def check(self, refusals: Refusals, work: Work) -> None:
        """Records tasks that cannot be fused, and too many combinations."""
        if self.form == "concat":
            for task in work.tasks:
                if task.hidden or task.dropout or task.features != "vector" or task.product_of:
                    rule = "must have heads of one linear layer on one vector of features to share a kernel"
                    refusals.add("tasks", rule, task, "Give hidden layers to the trunk.")
            return
        fused = fused_tasks(work.tasks)
        if not fused:
            fix = "Use Joint, or form='concat'."
            refusals.add("tasks", "must hold one whose label is one of exclusive classes", work.names, fix)
        for task in fused:
            given = [key for key in ("loss", "losses", "class_weight", "product_of") if getattr(task, key)]
            if given:
                got, fix = words(f"{task} with {' and '.join(given)}"), "The loss is the likelihood of all labels."
                refusals.add("tasks", "must leave loss, class weights and products out where they are fused", got, fix)
        self._check_number(refusals, [exclusive_classes(task) for task in fused])

    def _check_number(self, refusals: Refusals, classes: Sequence[int]) -> None:
        """Records too many combinations."""
        number, told = math.prod(classes), " * ".join(map(str, classes))
        if number > self.limit:
            fix = "Fuse fewer tasks, raise `limit`, or use Joint."
            refusals.add("limit", f"must be at least the {number} combinations", words(f"{self.limit} for {told}"), fix)
        elif math.prod(one + 1 for one in classes) > _MOST_CODES:
            refusals.add("tasks", f"must have no more than {_MOST_CODES} combinations, missing labels too", words(told))

    def run(self, work: Work) -> Any:
        """Trains the fused model."""
        return self._powerset(work) if self.form == "powerset" else self._concatenated(work)

    def _powerset(self, work: Work) -> Any:
        """Trains one softmax of the combinations; returns the model of its marginals."""
        fused = fused_tasks(work.tasks)
        names = [task.name for task in fused]
        classes = [exclusive_classes(task) for task in fused]
        whole_label = Combination(f"{'_and_'.join(names)}_combined", classes, hidden=self.hidden)
        rest = [task.alone() for task in work.tasks if task.name not in names]
        like, model = work.model(), work.model([whole_label, *rest])
        data = with_combinations(work.train, whole_label, names)
        held_out = work.validation and with_combinations(work.validation, whole_label, names)
        work.fit("powerset", model, data, epochs=self.epochs, validation=held_out or False, steps=work.steps)
        with model.distribute_strategy.scope():
            outputs = dict(model.output)
            whole_output = outputs.pop(whole_label.name)
            for place, task in enumerate(fused):
                outputs[task.name] = Marginal(classes, place, task.units, name=task.name)(whole_output)
            ordered = {name: outputs[name] for name in work.names}
            return compile_like(MultiTaskModel(model.input, ordered, tasks=work.tasks), like)

    def _concatenated(self, work: Work) -> Any:
        """Trains one kernel for all outputs."""
        made = concatenated(work.model())
        work.fit("concat", made, epochs=self.epochs)
        return made


def fused_tasks(tasks: Sequence[Task]) -> list[Task]:
    """The tasks whose label is one of exclusive classes."""
    return [task for task in tasks if exclusive_classes(task)]


def with_combinations(data: Any, task: Combination, names: Sequence[str]) -> Any:
    """The same batches with one label for several, beside the labels of the other tasks.

    Args:
        data: A `tf.data.Dataset` of batches `(x, {task: label})`, with or without weights.
        task: The task of the combinations.
        names: The tasks whose labels it stands for, in order.
    """

    def fused(x: Any, y: Mapping[str, Any], *weights: Any) -> tuple[Any, ...]:
        count = tf.shape(keras.tree.flatten(x)[0])[0]
        labels = [tf.reshape(tf.cast(y[name], "int32"), [-1]) if name in y else tf.fill([count], -1) for name in names]
        rest = {name: label for name, label in y.items() if name not in names}
        code = encode(labels, task.sizes)
        kept = [_weights(item, labels, task.name, names) if isinstance(item, Mapping) else item for item in weights]
        return (x, {task.name: code, **rest}, *kept)

    return transform_stream(data, lambda given: given.map(fused))


def _weights(weights: Mapping[str, Any], labels: Sequence[Any], fused: str, names: Sequence[str]) -> dict[str, Any]:
    """Sample weights by task, those of several as the mean over the labels that are there."""
    rest = {name: weight for name, weight in weights.items() if name not in names}
    if len(rest) == len(weights):
        return rest
    there = tf.stack([tf.cast(label >= 0, "float32") for label in labels])
    given = [
        tf.reshape(tf.cast(weights[name], "float32"), [-1]) if name in weights else tf.ones_like(there[0])
        for name in names
    ]
    # Where a label is missing its weight may be anything.
    known = tf.where(there > 0, tf.stack(given), 0.0)
    return {fused: tf.reduce_sum(known, axis=0) / tf.maximum(tf.reduce_sum(there, axis=0), 1.0), **rest}


def concatenated(model: Any) -> MultiTaskModel:
    """Makes one model of one kernel for all outputs, on the trunk of a model.

    Args:
        model: A compiled `MultiTaskModel` whose heads are single linear layers on shared features.

    Returns:
        A `MultiTaskModel`, compiled alike.

    Raises:
        ValueError: If a head is another one, or the tasks share no one tensor of features.
    """
    found = linear_outputs(model, "LabelFusion")
    with Refusals("LabelFusion") as refusals:
        for name, one in found.items():
            if not isinstance(layer_behind(one.tensor), keras.layers.Dense | FusedHeads):
                got = words(f"{type(layer_behind(one.tensor)).__name__} for {name!r}")
                refusals.add("build", "must make heads of one linear layer to share a kernel", got)
    with model.distribute_strategy.scope():
        widths = {name: one.tensor.shape[-1] for name, one in found.items()}
        features = shared_trunk("LabelFusion", model).output
        values = keras.layers.Dense(sum(widths.values()), dtype="float32", name="concatenated")(features)
        outputs, start = {}, 0
        for name, width in widths.items():
            outputs[name] = found[name].end(values[:, start : start + width])
            start += width
        made = MultiTaskModel(model.input, outputs, tasks=list(model.tasks.values()))
        return compile_like(made, model, balancer=same_balancer(model))
