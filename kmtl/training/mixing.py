"""The steps of `Heterogeneous` behind the joint training."""

import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kmtl.model.compile_like import compile_like
from kmtl.sharing.mixture import GatedMixture, StackedMixture
from kmtl.training.classical import Classical, out_of_fold
from kmtl.training.frozen_layers import FrozenLayers
from kmtl.training.mixed_graph import FEATURES, MixedGraph, classical_input
from kmtl.training.mixed_model import MixedModel, flat, input_names
from kmtl.training.rows_in_memory import Rows
from kmtl.training.trunk_branches import by_name
from kmtl.training.work import Work

_LINEAR_ENDS = ("softmax", "sigmoid")
_RATE = 0.01


class Mixing:
    """Fits the classical part of a trained joint model, the mixing model on its out-of-fold outputs, and tunes.

    Args:
        recipe: The `Heterogeneous`.
        work: Its work.
        joint: The trained joint model.
        rows: All training rows.
        columns: Names of the inputs that estimators read.
    """

    def __init__(self, recipe: Any, work: Work, joint: Any, rows: Rows, columns: list[str]) -> None:
        self.recipe, self.work, self.joint, self.rows, self.columns = recipe, work, joint, rows, columns
        self.given = recipe.given(work)
        self.structure = input_names(joint)
        self.inputs = keras.tree.flatten(self.structure)

    def run(self) -> Any:
        """Does the steps; returns the result of the recipe."""
        graph = self._graph()
        deep = self.work.keep("deep outputs", lambda: self._deep(graph), cost=self.work.forward_cost(self.work.steps))
        read = (
            deep[FEATURES] if self.recipe.reads == FEATURES else flat(by_name(self.rows.x, self.inputs), self.columns)
        )
        outside = self.work.keep("out of fold", lambda: self._out_of_fold(read))
        self._mix(graph, deep, outside)
        classical = self._classical(read)
        mixed = MixedModel(
            graph.whole(), classical, inputs=self.structure, columns=self.columns, features=self._features(graph)
        )
        self._tune(mixed, outside)
        return mixed.in_one() if mixed.is_linear else mixed

    def _graph(self) -> MixedGraph:
        """The graph with fresh mixtures."""
        keras.utils.set_random_seed(self.work.seed)
        with self.joint.distribute_strategy.scope():
            mixtures = {name: self._mixture(self.joint.tasks[name]) for name in self.given}
            return MixedGraph(self.work.owner, self.joint, mixtures)

    def _mixture(self, task: Any) -> Any:
        """The mixing layer of a task."""
        activation = task.final_activation if task.final_activation in _LINEAR_ENDS else None
        kind = GatedMixture if self.recipe.mix == "gate" else StackedMixture
        return kind(activation, name=f"{task.name}_mixed")

    def _deep(self, graph: MixedGraph) -> dict[str, Any]:
        """What the network gives for each row."""
        return graph.deep().predict(self.rows.x, batch_size=self.rows.batch_size, verbose=0)

    def _features(self, graph: MixedGraph) -> Any:
        """The model of the features, if estimators read them; they stand still from here on."""
        if self.recipe.reads != FEATURES:
            return None
        return keras.Model(graph.inputs, graph.features)

    def _out_of_fold(self, read: Any) -> dict[str, Any]:
        """Classical outputs of each row by a predictor that has not seen it."""
        self.work.say(f"classical, {self.recipe.folds} folds")
        options = {"folds": self.recipe.folds, "seed": self.work.seed}
        return {
            name: out_of_fold(*self._of(name), read, self._labels(name), **options, weights=self._weights(name))
            for name in self.given
        }

    def _of(self, name: str) -> tuple[Any, Any]:
        """A task and its estimator."""
        return self.joint.tasks[name], self.given[name]

    def _weights(self, name: str) -> Any:
        """A task's sample weights, or None."""
        return weights_of(self.rows, name)

    def _labels(self, name: str) -> Any:
        """A task's labels, in its dtype."""
        return self.joint.tasks[name].cast_labels(np.asarray(self.rows.y[name]))

    def _classical(self, read: Any) -> dict[str, Classical]:
        """Predictors of all rows; what they are and took goes into the notes."""
        found, told = {}, {}
        for name in self.given:
            start = time.perf_counter()
            options = {"seed": self.work.seed, "weights": self._weights(name)}
            found[name] = Classical.fitted(*self._of(name), read, self._labels(name), **options)
            kind = type(found[name].estimators[0]).__name__
            told[name] = {"estimator": kind, "seconds": time.perf_counter() - start}
        self.work.notes["classical"] = told
        return found

    def _mix(self, graph: MixedGraph, deep: dict[str, Any], outside: dict[str, Any]) -> None:
        """Trains the mixtures on arrays, the network standing aside."""
        model = graph.mixing()
        with self.joint.distribute_strategy.scope():
            optimizer = keras.optimizers.Adam(_RATE)
            compile_like(model, dict.fromkeys(model.tasks, self.joint), optimizer=optimizer)
        x = {FEATURES: deep[FEATURES]}
        for name in self.given:
            x |= {f"{name}_deep": deep[name], classical_input(name): outside[name]}
        data = self.work.data_of(self.given, self.rows._replace(x=x).dataset(seed=self.work.seed))
        self.work.fit("mixing", model, data, epochs=self.recipe.mixing, validation=False, passes=0.0)
        if self.recipe.mix == "gate":
            self.work.notes["gate"] = {name: graph.mean_gate(name, x) for name in self.given}

    def _tune(self, mixed: MixedModel, outside: dict[str, Any]) -> None:
        """Tunes all but the classical part."""
        FrozenLayers([self.joint]).release()
        own = self.joint.balancer
        balancer: Any = type(own).from_config(own.get_config())
        if mixed.features is not None:
            FrozenLayers([mixed.features])
            balancer = "equal"
        with self.joint.distribute_strategy.scope():
            compile_like(mixed.model, self.joint, balancer=balancer, rates=self.recipe.rate)
        beside = {classical_input(name): values for name, values in outside.items()}
        x = {**by_name(self.rows.x, self.inputs), **beside}
        data = self.rows._replace(x=x).dataset(seed=self.work.seed)
        self.work.fit("tuned", mixed.model, data, epochs=self.recipe.tuned, validation=self._validation(mixed))

    def _validation(self, mixed: MixedModel) -> Any:
        """Validation data with what the predictors say of them."""
        if self.work.validation is None:
            return None
        rows = self.work.rows(self.work.validation)
        return rows._replace(x=mixed.with_classical(rows.x)).dataset(shuffle=False)


def weights_of(rows: Rows, name: str) -> Any:
    """Sample weights of a task, one a row; None where all weigh 1.

    >>> weights_of(Rows(np.ones(2), {}, {"age": np.array([[1.0], [2.0]])}, 1), "age").tolist()
    [1.0, 2.0]
    """
    given = rows.weights.get(name) if isinstance(rows.weights, Mapping) else rows.weights
    return None if given is None else np.asarray(given).reshape(rows.number)
