"""A network and classical predictors as one thing to evaluate, predict with and save."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from kmtl._checks import refusal, require, words
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.training.classical import Classical
from kmtl.training.combined import called
from kmtl.training.decision_forests import FittedForest
from kmtl.training.forest_layer import forest_layer
from kmtl.training.linear_part import linear_layer
from kmtl.training.mixed_graph import classical_input
from kmtl.training.rows_in_memory import rows_of
from kmtl.training.trunk_branches import by_name

_FILE, _MODEL, _FEATURES = "mixed.json", "model.keras", "features.keras"


class MixedModel:
    """A `MultiTaskModel` that reads classical outputs, and the predictors that give them.

    What is of the network alone, `model` does: it takes `<task>_classical` beside its other inputs, and saves, exports
    and trains as any other. Of parts that were kept apart this class makes the whole again: a model, and
    `{task: Classical(task, [estimator])}`.

    Args:
        model: A `MultiTaskModel` with an input `<task>_classical` for each classical predictor.
        classical: `{task: Classical}`.
        inputs: Names of the network's own inputs, in the structure in which data give them: a name, a list, a dict.
        columns: Names of those that the classical predictors read, flattened side by side.
        features: A model from the inputs to features that are read in their place; None reads the inputs.

    Attributes:
        model: The network.
        classical: The predictors.
        tasks: The tasks by name.

    >>> from sklearn.linear_model import LinearRegression
    >>> from kmtl.tasks import Regression
    >>> task, x = Regression("age"), np.eye(3, 2, dtype="float32")
    >>> row, given = keras.Input((2,), name="row"), keras.Input((1,), name="age_classical")
    >>> mean = keras.layers.Average()([keras.layers.Dense(1)(row), given])
    >>> model = MultiTaskModel({"row": row, "age_classical": given}, {"age": mean}, tasks=[task])
    >>> line = Classical.fitted(task, LinearRegression(), x, np.arange(3.0))
    >>> mixed = MixedModel(model, {"age": line}, inputs="row", columns=["row"])
    >>> mixed.predict(x, verbose=0)["age"].shape, mixed.is_linear
    ((3, 1), True)
    """

    def __init__(
        self,
        model: Any,
        classical: Mapping[str, Classical],
        *,
        inputs: Any,
        columns: Sequence[str],
        features: Any = None,
    ) -> None:
        self.model, self.classical, self.features = model, dict(classical), features
        self.structure, self.inputs, self.columns = inputs, keras.tree.flatten(inputs), list(columns)
        self.tasks = model.tasks

    @property
    def distribute_strategy(self) -> Any:
        """Where the network runs."""
        return self.model.distribute_strategy

    def count_params(self) -> int:
        """Number of the network's weights; trees have none."""
        return int(self.model.count_params())

    def get_weights(self) -> list[Any]:
        """The network's weights."""
        return list(self.model.get_weights())

    # Running.

    def rows(self, x: Any) -> Any:
        """What the classical predictors read of inputs, `(rows, width)`, float32.

        Args:
            x: Arrays in the structure that the network takes.
        """
        named = by_name(x, self.inputs)
        if self.features is not None:
            return self.features.predict({name: named[name] for name in self.inputs}, verbose=0)
        return flat(named, self.columns)

    def with_classical(self, x: Any) -> dict[str, Any]:
        """Inputs by name with the classical outputs beside them."""
        rows = self.rows(x)
        found = {classical_input(name): one.outputs(rows) for name, one in self.classical.items()}
        return {**_chosen(by_name(x, self.inputs), self.inputs), **found}

    def predict(self, x: Any, batch_size: int | None = None, verbose: Any = "auto") -> dict[str, Any]:
        """Predicts `{task: outputs}`.

        Args:
            x: Arrays in the structure that the network takes, or a dataset of batches of them, with labels or without.
            batch_size: Of arrays.
            verbose: As in Keras.
        """
        if not hasattr(x, "element_spec"):
            return self.model.predict(self.with_classical(x), batch_size=batch_size, verbose=verbose)
        labelled = isinstance(x.element_spec, tuple)
        batches = [batch[0] if labelled else batch for batch in x.as_numpy_iterator()]
        parts = [self.model.predict(self.with_classical(batch), verbose=0) for batch in batches]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.tasks}

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Evaluates as `MultiTaskModel.evaluate` does.

        Args:
            x: Arrays, or a dataset of batches `(x, {task: label})`, which is read into memory.
            y: Labels of arrays.
            batch_size: Of arrays.
            verbose: As in Keras.
            sample_weight: Of arrays.
            return_dict: Whether values come by their log keys.
        """
        if hasattr(x, "element_spec"):
            rows = rows_of(x)
            x, y, sample_weight, batch_size = rows.x, rows.y, rows.weights, rows.batch_size
        return self.model.evaluate(
            self.with_classical(x),
            y,
            batch_size=batch_size,
            verbose=verbose,
            sample_weight=sample_weight,
            return_dict=return_dict,
        )

    # Leaving this process.

    @property
    def is_linear(self) -> bool:
        """Whether the classical part is linear, so that `in_one` saves and exports as any model."""
        return all(linear_layer(one) is not None for one in self.classical.values())

    def in_one(self) -> MultiTaskModel:
        """One model with the classical part in its graph, for one SavedModel.

        A linear or logistic regression is a dense layer; trees of YDF run by its TensorFlow op, which the process that
        loads the SavedModel must have (TensorFlow Serving has it, Python has it after `import ydf_tf`), and which
        neither a `.keras` file nor LiteRT holds.

        Returns:
            A `MultiTaskModel` on the network's own inputs, compiled as `model` is; it shares its weights.

        Raises:
            ValueError: If a predictor is something else.
        """
        layers = {name: linear_layer(one) or forest_layer(one) for name, one in self.classical.items()}
        if None in layers.values():
            raise ValueError(refusal("MixedModel.in_one", "classical", *self.export_refusal))
        with self.distribute_strategy.scope():
            given = {tensor.name: tensor for tensor in self.model.inputs}
            inputs = {
                name: keras.Input(given[name].shape[1:], dtype=given[name].dtype, name=name) for name in self.inputs
            }
            read = self._read_tensor(inputs)
            found = {classical_input(name): layer(read) for name, layer in layers.items()}
            outputs = called(self.model, {**inputs, **found}, "mixed")
            own = keras.tree.map_structure(lambda name: inputs[name], self.structure)
            return compile_like(MultiTaskModel(own, outputs, tasks=list(self.tasks.values())), self.model)

    def _read_tensor(self, inputs: Mapping[str, Any]) -> Any:
        """What the classical predictors read, as a tensor."""
        if self.features is not None:
            return called(self.features, inputs, "classical_features")
        parts = [keras.layers.Flatten(dtype="float32")(_float(inputs[name])) for name in self.columns]
        return parts[0] if len(parts) == 1 else keras.layers.Concatenate(dtype="float32")(parts)

    @property
    def export_refusal(self) -> tuple[str, str, str]:
        """Why an export does not take it, as a refusal says it: rule, what there is, and the way out."""
        fix = f"Export `.model`, and give it {[classical_input(name) for name in self.classical]} from the estimators;"
        fix = f"{fix} linear ones and kmtl.training.DecisionForest get into the graph by `.in_one()`."
        return "must be one graph of TensorFlow", words(f"a MixedModel with {self._told()} beside it"), fix

    def _told(self) -> str:
        """The estimators as a message names them."""
        kinds = {name: type(one.estimators[0]).__name__ for name, one in self.classical.items()}
        return ", ".join(f"{kind} of {name!r}" for name, kind in kinds.items())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes a folder that `MixedModel.load` reads: `model.keras`, and trees in YDF's own form.

        Raises:
            ValueError: If a predictor is of scikit-learn, which has no file form but pickle, and loading must run no
                code of the file's.
        """
        other = [one for part in self.classical.values() for one in part.estimators if not hasattr(one, "save")]
        fix = "Save `.model` as any model, and the estimators by skops.io.dump, whose files are loaded by a list of"
        fix = f"{fix} types to trust; or train with kmtl.training.DecisionForest."
        rule = "must hold predictors with a file form other than pickle"
        require(not other, "MixedModel.save", "classical", rule, words(self._told()), fix)
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.model.save(path / _MODEL)
        if self.features is not None:
            self.features.save(path / _FEATURES)
        told = {"inputs": self.structure, "columns": self.columns, "classical": {}}
        for name, part in self.classical.items():
            told["classical"][name] = len(part.estimators)
            for element, one in enumerate(part.estimators):
                one.save(path / name / str(element))
        (path / _FILE).write_text(json.dumps(told))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote."""
        path = Path(folder)
        if not (path / _FILE).is_file():
            fix = "Give the folder that MixedModel.save wrote."
            raise ValueError(refusal("MixedModel.load", "folder", f"must hold {_FILE}", str(folder), fix))
        told = json.loads((path / _FILE).read_text())
        model = keras.saving.load_model(path / _MODEL)
        features = keras.saving.load_model(path / _FEATURES) if (path / _FEATURES).is_file() else None
        parts = {
            name: Classical(model.tasks[name], [FittedForest.load(path / name / str(n)) for n in range(number)])
            for name, number in told["classical"].items()
        }
        return cls(model, parts, inputs=told["inputs"], columns=told["columns"], features=features)

    def __repr__(self) -> str:
        return f"MixedModel({list(self.tasks)}, classical: {self._told()})"


def flat(named: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """Inputs side by side, `(rows, width)`, float32.

    >>> flat({"a": np.ones((2, 1, 2)), "b": np.zeros(2, "int32")}, ["a", "b"]).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    """
    parts = [np.asarray(named[name]) for name in columns]
    return np.concatenate([part.reshape(len(part), -1).astype("float32") for part in parts], axis=1)


def input_names(model: Any) -> Any:
    """Names of a model's inputs, in the structure in which data give them."""
    return keras.tree.map_structure(lambda tensor: tensor.name.split(":")[0], model.input)


def _float(tensor: Any) -> Any:
    """A tensor of float32."""
    return tensor if tensor.dtype == "float32" else keras.ops.cast(tensor, "float32")


def _chosen(named: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What the network takes."""
    return {name: named[name] for name in names}
