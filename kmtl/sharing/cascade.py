"""Heads that read what other heads predict."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from kmtl._checks import Refusals, known_keys, near, refusal, require, words
from kmtl._keras_private import layer_behind
from kmtl.sharing.read_predictions import ReadPredictions, can_read
from kmtl.tasks import Task, Unstandardize, build_heads, check_factors, features_by_task, named_tasks

_FIX = "For example Cascade({'detection': ['edges']}): `detection` reads what `edges` predicts."


class Cascade:
    """Builds heads of which some read other tasks' predictions, as a detector the edges of an image.

        output_k = head_k([features_k; output_j, ... for each j that k reads])

    What is read is a prediction and never a label, so that training and serving see the same, and a label of `j` that
    is missing changes nothing for `k`. Probabilities are read as they are, a regression with a head of kmtl's on its
    standardised scale. A map or a sequence of predictions is brought to the form of the reader's features: its mean
    beside a vector, resized beside a map of another size; a vector stands at each place of a map or a sequence.

    The reader's loss trains the head that it reads, too, as in Dai et al., "Instance-aware Semantic Segmentation via
    Multi-task Network Cascades", CVPR 2016; with `stop_gradient` it does not. Weights of a head that is read count as
    shared (`model.shared_variables`) in both cases, and such a head is never fused with others.

    Args:
        reads: `{reader: names of the tasks that it reads}`; chains and several readers are fine, a circle is not.
        stop_gradient: Whether readers leave what they read as it is.
        skip_absent: Whether names of tasks that are not there are passed over, as where a build function makes a model
            of one task alone; else they are refused.

    Raises:
        ValueError: If `reads` is no such dict, or goes in a circle.

    >>> import keras, kmtl
    >>> tasks = [kmtl.Classification("breed", 5), kmtl.BinaryClassification("is_dog")]
    >>> row = keras.Input((8,))
    >>> cascade = Cascade({"breed": ["is_dog"]}, stop_gradient=True)
    >>> model = kmtl.MultiTaskModel(row, cascade(row, tasks), tasks=tasks)
    >>> model.get_layer("breed").kernel.shape
    TensorShape([9, 5])
    """

    def __init__(
        self, reads: Mapping[str, Sequence[str]], *, stop_gradient: bool = False, skip_absent: bool = False
    ) -> None:
        self.reads = _checked_reads(reads)
        for argument, flag in (("stop_gradient", stop_gradient), ("skip_absent", skip_absent)):
            require(isinstance(flag, bool), "Cascade", argument, "must be True or False", flag)
        self.stop_gradient, self.skip_absent = stop_gradient, skip_absent
        list(_levels(self.reads))

    def __repr__(self) -> str:
        return f"Cascade({self.reads!r}, stop_gradient={self.stop_gradient}, skip_absent={self.skip_absent})"

    def __call__(self, features: Any, tasks: Sequence[Task], *, fuse: bool | str = "auto") -> dict[str, Any]:
        """Builds one named output a task.

        Args:
            features: As for `MultiTaskModel.from_features`: a KerasTensor, a dict of them by kind of features, or by
                task.
            tasks: The tasks, in order.
            fuse: Whether alike heads are computed as one kernel; see `kmtl.tasks.build_heads`.

        Returns:
            `{task name: output}`, in task order, for `MultiTaskModel(inputs, outputs, tasks=tasks)`.

        Raises:
            ValueError: If a name is that of no task, a reader has no head, or cannot take a prediction's form.
        """
        named = named_tasks(tasks)
        reads = self._among(named)
        own = features_by_task(features, list(tasks), "Cascade")
        products = [task for task in tasks if task.product_of]
        check_factors("Cascade", products, named)
        needs = {name: [*reads.get(name, ()), *task.product_of] for name, task in named.items()}
        # A head that another output needs belongs to both; a slice of a fused kernel belongs to one.
        apart = {name for needed in needs.values() for name in needed}
        outputs: dict[str, Any] = {}
        for level in _levels(needs):
            heads = [task for name, task in named.items() if name in level and not task.product_of]
            given = {task.name: self._beside(task, own[task.name], reads, outputs) for task in heads}
            for part, form in ((True, False), (False, fuse)):
                chosen = [task for task in heads if (task.name in apart) is part]
                outputs |= build_heads(given, chosen, fuse=form) if chosen else {}
            made = [task for task in products if task.name in level]
            outputs |= {task.name: task.product([outputs[name] for name in task.product_of]) for task in made}
        return {name: outputs[name] for name in named}

    def _among(self, tasks: Mapping[str, Task]) -> dict[str, list[str]]:
        """Who reads what among some tasks."""
        reads = self.reads
        if self.skip_absent:
            reads = {name: [one for one in read if one in tasks] for name, read in reads.items() if name in tasks}
        with Refusals("Cascade") as refusals:
            known_keys(refusals, "reads", reads, tasks)
            for reader, read in reads.items():
                for name in read:
                    if name not in tasks:
                        refusals.add(f"reads of {reader!r}", "must name tasks", name, near(str(name), tasks))
                if reader in tasks and tasks[reader].product_of:
                    got = words(f"one that is the product of {list(tasks[reader].product_of)}")
                    refusals.add(f"reads of {reader!r}", "must belong to a task with a head", got)
        return reads

    def _beside(self, task: Task, features: Any, reads: Mapping[str, list[str]], outputs: Mapping[str, Any]) -> Any:
        """A task's features, and beside them what it reads."""
        names = reads.get(task.name)
        if not names:
            return features
        found = {name: _standardized(outputs[name]) for name in names}
        with Refusals("Cascade") as refusals:
            for name, prediction in found.items():
                if not can_read(features.shape, prediction.shape):
                    rule = f"must take what {name!r} predicts: vectors, or the same form, maps of known sizes"
                    got = words(f"features of {features.shape} and a prediction of {prediction.shape}")
                    refusals.add(f"reads of {task.name!r}", rule, got)
        layer = ReadPredictions(self.stop_gradient, name=f"{task.name}_reads_{'_'.join(names)}")
        return layer([features, *found.values()])


def _checked_reads(reads: Any) -> dict[str, list[str]]:
    """Returns who reads what, or refuses what is no dict of lists of names."""
    good = isinstance(reads, Mapping) and bool(reads)
    require(good, "Cascade", "reads", "must be a dict {reader: [names that it reads]}", reads, _FIX)
    with Refusals("Cascade") as refusals:
        for reader, names in reads.items():
            listed = isinstance(names, Sequence) and not isinstance(names, str) and bool(names)
            if not listed or len(set(map(str, names))) < len(names):
                refusals.add(f"reads of {reader!r}", "must be a list of different task names", names, _FIX)
    return {reader: list(names) for reader, names in reads.items()}


def _levels(needs: Mapping[str, Sequence[str]]) -> Iterator[set[str]]:
    """Sets of names, each needing only names of the sets before it; refuses a circle."""
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = words(" -> ".join(map(repr, error.args[1])))
        fix = "Leave one of them out: a head needs what it reads first."
        raise ValueError(refusal("Cascade", "reads", "must not go in a circle", circle, fix)) from error
    while sorter.is_active():
        ready = sorter.get_ready()
        yield set(ready)
        sorter.done(*ready)


def _standardized(output: Any) -> Any:
    """A prediction before it is turned into a label's unit, if it is."""
    layer = layer_behind(output)
    return layer.input if isinstance(layer, Unstandardize) else output
