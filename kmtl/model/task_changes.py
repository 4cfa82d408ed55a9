"""A trained model with a task more, fewer, or by another name."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from kmtl import balancers
from kmtl._checks import Refusals, known_keys, require, task_name, words
from kmtl._keras_private import in_scope
from kmtl.model.carried_training import (
    Names,
    carried_arguments,
    carried_optimizer,
    carry_balancers,
    carry_optimizer,
    known_variables,
)
from kmtl.model.compile import CompiledGraph
from kmtl.model.feature_layer import feature_layers
from kmtl.model.graph import FUNCTIONAL_KEYS
from kmtl.model.graph_copy import Addition, Change, Copy, copied_graph
from kmtl.tasks import Task, check_factors, renamed

_TAKE_IT_TOO = "Its `where` or `product_of` names it: take that one out, too."


class ChangeableGraph(CompiledGraph):
    """A compiled model of which one with other tasks can be made; `MultiTaskModel` is fed and run.

    The new model is one of its own: weights, optimizer, balancer and metrics are copied, so that training one moves
    nothing of the other. What was compiled stays compiled. The other tasks' outputs are the same bit for bit; of a
    fused head that is cut, up to the rounding of one product of matrices.
    """

    @in_scope
    def with_task(self, task: Task, *, features: str | Sequence[str] | None = None, balancer: Any = None) -> Self:
        """Makes a model with one task more, at the end; this one stays as it is.

        A product of other tasks (`product_of`) multiplies their outputs. Any other head reads what the others
        read: the fork that `from_features` put behind the trunk, which then serves one task more, or, without a
        fork, the layer in which what all tasks share ends. It is a head of its own beside fused ones. It weighs
        1, the shared optimizer moves it, its slots, its part of the balancer's state and its label statistics
        begin anew; everything else goes on where it was. A step of your own (`model.step`) is not taken along.

        To train the new head alone first, freeze the other layers, `fit`, and unfreeze them: see the example.

        Args:
            task: The new task.
            features: Name of the layer that its head reads, where the model has several that its kind can take, or
                only one task; of a fork, a copy of its own. Of a head on maps also a list of names, fine to coarse.
            balancer: As in `compile`; None keeps the present one and its state.

        Returns:
            The new model, compiled if this one is.

        Raises:
            ValueError: If the name is taken, no layer or more than one fits, or the balancer cannot take the task.

        >>> import keras
        >>> from kmtl import MultiTaskModel
        >>> from kmtl.tasks import Classification, Regression
        >>> row = keras.Input((8,))
        >>> trunk = keras.layers.Dense(4, name="trunk")(row)
        >>> model = MultiTaskModel.from_features(row, trunk, [Classification("digit", 10), Regression("angle")])
        >>> grown = model.with_task(Regression("size"))
        >>> list(grown.tasks)
        ['digit', 'angle', 'size']
        >>> head = grown.task_layers("size")
        >>> for layer in grown.layers:
        ...     layer.trainable = layer in head
        >>> [variable.path for variable in grown.trainable_variables]
        ['size_standardized/kernel', 'size_standardized/bias']
        """
        require(isinstance(task, Task), "with_task", "task", "must be a kmtl task", task)
        require(task.name not in self.tasks, "with_task", "task", "must have a new name", task.name, "Rename it.")
        if task.product_of:
            self._check_product(task, features)
            added = Addition(task, [])
        else:
            added = Addition(task, feature_layers(self, task, features))
        return self._changed("with_task", {name: name for name in self.tasks}, added, balancer)

    def _check_product(self, task: Task, features: Any) -> None:
        """Refuses a product of what it cannot be made of."""
        require(features is None, "with_task", "features", "must be None for a product", features, "It has no head.")
        check_factors("with_task", [task], {**self.tasks, task.name: task})
        for layer in self.layers:
            held = getattr(layer, "names", ()) if getattr(layer, "serves_outputs_apart", False) else ()
            inside = [name for name in task.product_of if name in held]
            rule = "must be a product of heads of their own"
            fix = "Slices of one kernel belong to one task each: build with from_features(..., fuse=False)."
            got = words(f"{inside} in the fused head {layer.name!r}")
            require(not inside, "with_task", "task", rule, got, fix)

    @in_scope
    def without(self, *names: str, balancer: Any = None) -> Self:
        """Makes a model without some tasks and their heads; this one stays as it is.

        Inputs stay, also such as no task needs any more.

        Args:
            *names: Of the tasks.
            balancer: As in `compile`; None keeps the present one and its state.

        Returns:
            The new model, compiled if this one is.

        Raises:
            ValueError: If a name is unknown, no task would be left, or one that stays or an option of the balancer
                names it.

        >>> import keras
        >>> from kmtl import MultiTaskModel
        >>> from kmtl.tasks import Classification, Regression
        >>> row = keras.Input((8,))
        >>> model = MultiTaskModel.from_features(row, row, [Classification("digit", 10), Regression("angle")])
        >>> model.without("digit").output_names
        ['angle']
        """
        with Refusals("without") as refusals:
            known_keys(refusals, "name", names, self.tasks)
            if not names:
                refusals.add("name", "must name a task", words("none"))
            elif set(self.tasks) <= set(names):
                refusals.add("name", "must leave a task", list(names))
            for name in (name for name in self.tasks if name not in names):
                task = self.tasks[name]
                for other in [*task.where, *task.product_of]:
                    if other in names:
                        refusals.add("name", f"must not be of a task that {name!r} asks for", other, _TAKE_IT_TOO)
        kept = {name: name for name in self.tasks if name not in names}
        return self._changed("without", kept, None, balancer)

    @in_scope
    def renamed(self, names: Mapping[str, str]) -> Self:
        """Makes a model in which some tasks have another name, in outputs, labels, logs and files; this one stays.

        Layers that are a task's own and bear its name follow, and so do what `compile` was given by task, the
        balancer's options, and the `where` and `product_of` of other tasks.

        Args:
            names: `{old: new}`; two may change places.

        Returns:
            The new model, compiled if this one is.

        Raises:
            ValueError: If a name is unknown, or two tasks, or a task and a layer, would bear the same one.

        >>> import keras
        >>> from kmtl import MultiTaskModel
        >>> from kmtl.tasks import Classification, Regression
        >>> row = keras.Input((8,))
        >>> model = MultiTaskModel.from_features(row, row, [Classification("digit", 10), Regression("angle")])
        >>> list(model.renamed({"digit": "number"}).tasks)
        ['number', 'angle']
        """
        require(isinstance(names, Mapping), "renamed", "names", "must be {old name: new name}", names)
        with Refusals("renamed") as refusals:
            known_keys(refusals, "names", names, self.tasks)
            new = [task_name("renamed", names.get(name, name)) for name in self.tasks]
            for name in sorted({name for name in new if new.count(name) > 1}):
                refusals.add("names", "must leave every task a name of its own; twice", name)
        return self._changed("renamed", dict(zip(self.tasks, new, strict=True)), None, None)

    @in_scope
    def remade(self, change: Change, owner: str = "remade") -> Self:
        """Makes the same model once more, of the same weights, with other settings of its layers; this one stays.

        Args:
            change: What is otherwise.
            owner: Who is named in a refusal.

        Returns:
            The new model, compiled if this one is.

        Raises:
            ValueError: If a layer cannot be made again.
        """
        return self._changed(owner, {name: name for name in self.tasks}, None, None, change)

    def _changed(
        self,
        owner: str,
        names: dict[str, str],
        added: Addition | None,
        balancer: Any,
        change: Change | None = None,
    ) -> Self:
        """The new model, with all that stays."""
        chosen = self._chosen(owner, names, balancer)
        graph = copied_graph(owner, self, names, added, change)
        tasks = [renamed(self.tasks[old], names) for old in names] + ([added.task] if added else [])
        own = {key: value for key, value in self.get_config().items() if key not in FUNCTIONAL_KEYS}
        model = type(self)(graph.inputs, graph.outputs, tasks=tasks, name=self.name, **own)
        if chosen is not None:
            self._carry(model, graph, names, chosen)
        return model

    def _chosen(self, owner: str, names: Mapping[str, str], balancer: Any) -> Any:
        """The balancer of the new model; None of one that is not compiled."""
        if balancer is not None:
            rule = "must be None while the model is not compiled"
            require(self._setup is not None, owner, "balancer", rule, balancer, "Give it to compile.")
            return balancers.get(balancer)
        return None if self._setup is None else balancers.remade(self._setup.balancer, names, owner)

    def _carry(self, model: Self, graph: Copy, names: Mapping[str, str], chosen: Any) -> None:
        """Compiles the new model as this one is, and gives it what this one has learned."""
        setup, renamed = self._compiled_setup("with_task"), Names(names, graph.layer_names)
        arguments = carried_arguments(self._arguments, renamed, self.tasks)
        model.compile(carried_optimizer(self.optimizer, renamed), **{**arguments, "balancer": chosen})
        model.widen_optimizer(known_variables(self.optimizer, graph.origins, model.variables))
        carry_optimizer(self.optimizer, model.optimizer, renamed, graph.origins)
        decided, weights = model._compiled_setup("with_task"), self.loss_weights
        # Joint losses have weights and a place in the balancing, too.
        weighed = {name: names.get(name, name) for name in weights if name in names or name not in self.tasks}
        decided.loss_weights.assign({new: weights[old] for old, new in weighed.items()})
        carry_balancers(setup, decided, weighed)
