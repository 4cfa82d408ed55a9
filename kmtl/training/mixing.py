"""The steps of `Heterogeneous` behind the joint training."""

import time
from typing import Any

import keras
import numpy as np

from kmtl.model.compile_like import compile_like
from kmtl.sharing.mixture import GatedMixture, StackedMixture
from kmtl.training.classical import Classical, out_of_fold
from kmtl.training.frozen_layers import FrozenLayers
from kmtl.training.mixed_graph import FEATURES, MixedGraph, classical_input
from kmtl.training.mixed_model import MixedModel, flat, input_names
from kmtl.training.rows import Rows
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
        return mixed.in_one() or mixed

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
        tasks = self.joint.tasks
        return {
            name: out_of_fold(tasks[name], one, read, self._labels(name), **options) for name, one in self.given.items()
        }

    def _labels(self, name: str) -> Any:
        """A task's labels, in its dtype."""
        return self.joint.tasks[name].cast_labels(np.asarray(self.rows.y[name]))

    def _classical(self, read: Any) -> dict[str, Classical]:
        """Predictors of all rows; what they are and took goes into the notes."""
        found, told = {}, {}
        for name, one in self.given.items():
            start = time.perf_counter()
            found[name] = Classical.fitted(self.joint.tasks[name], one, read, self._labels(name), seed=self.work.seed)
            kind = type(found[name].estimators[0]).__name__
            told[name] = {"estimator": kind, "seconds": time.perf_counter() - start}
        self.work.notes["classical"] = told
        return found

    def _mix(self, graph: MixedGraph, deep: dict[str, Any], outside: dict[str, Any]) -> None:
        """Trains the mixtures on arrays, the network standing aside."""
        model = graph.mixing()
        compile_like(model, dict.fromkeys(model.tasks, self.joint), optimizer=keras.optimizers.Adam(_RATE))
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
