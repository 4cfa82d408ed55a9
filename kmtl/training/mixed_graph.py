"""The graph in which a network and classical predictors meet: classical outputs are inputs of it."""

from collections.abc import Mapping
from typing import Any

import keras

from kmtl._checks import refusal, words
from kmtl._keras_private import layer_behind
from kmtl.model.model import MultiTaskModel
from kmtl.sharing.mixture import Mixture
from kmtl.tasks import Unstandardize
from kmtl.training.shared_trunk import shared_trunk

FEATURES = "features"


def classical_input(task: str) -> str:
    """Name of the input that a task's classical outputs enter by."""
    return f"{task}_classical"


class MixedGraph:
    """Mixtures behind the outputs of a trained model.

    Values are mixed on the standardised scale that their head learns on, and go back to their unit afterwards.

    Args:
        owner: Whose arguments a refusal names.
        joint: The model; its layers are used as they are.
        mixtures: `{task: layer}`, of the tasks that have a classical predictor.

    Attributes:
        features: What all heads read, `(batch, width)`.
    """

    def __init__(self, owner: str, joint: Any, mixtures: Mapping[str, Mixture]) -> None:
        self.joint, self.mixtures = joint, mixtures
        with joint.distribute_strategy.scope():
            self.features, self._own = trunk_features(owner, joint)
            self._linear = {name: _before_unit(joint, name) for name in mixtures}
            self._ends = {name: _like(joint.scalers[name]) for name in mixtures if name in joint.scalers}

    @property
    def inputs(self) -> dict[str, Any]:
        """The model's own inputs by name."""
        return {tensor.name.split(":")[0]: tensor for tensor in self.joint.inputs}

    def deep(self) -> Any:
        """A model of what the network gives to the mixtures: `{features: ..., task: output}`."""
        return keras.Model(self.joint.input, {**self._linear, FEATURES: self.features})

    def mean_gate(self, name: str, x: Mapping[str, Any]) -> float:
        """The mean share of the deep output of a task, over rows of what `mixing` takes."""
        classical = x[classical_input(name)]
        if name in self._ends:
            scaler = self._ends[name]
            classical = (classical - scaler.mean.numpy()) / scaler.scale.numpy()
        return float(keras.ops.mean(self.mixtures[name].gate(x[FEATURES], classical)))

    def mixing(self) -> MultiTaskModel:
        """The mixtures alone, on computed arrays: features, `<task>_deep`, `<task>_classical`."""
        with self.joint.distribute_strategy.scope():
            features = keras.Input(self.features.shape[1:], name=FEATURES)
            deep = {name: keras.Input(tensor.shape[1:], name=f"{name}_deep") for name, tensor in self._linear.items()}
            classical = self._classical_inputs()
            outputs = self._outputs(dict.fromkeys(deep, features), deep, classical)
            inputs = {tensor.name: tensor for tensor in (features, *deep.values(), *classical.values())}
            return MultiTaskModel(inputs, outputs, tasks=[self.joint.tasks[name] for name in outputs])

    def whole(self) -> MultiTaskModel:
        """The network with its mixtures, which takes classical outputs as further inputs."""
        with self.joint.distribute_strategy.scope():
            classical = self._classical_inputs()
            mixed = self._outputs(self._own, self._linear, classical)
            outputs = {name: mixed.get(name, self.joint.output[name]) for name in self.joint.tasks}
            inputs = {**self.inputs, **{tensor.name: tensor for tensor in classical.values()}}
            return MultiTaskModel(inputs, outputs, tasks=list(self.joint.tasks.values()))

    def _classical_inputs(self) -> dict[str, Any]:
        """An input a task."""
        return {
            name: keras.Input(tensor.shape[1:], name=classical_input(name)) for name, tensor in self._linear.items()
        }

    def _outputs(self, features: Mapping[str, Any], deep: Mapping[str, Any], classical: Mapping[str, Any]) -> Any:
        """Outputs by task."""
        found = {}
        for name, mixture in self.mixtures.items():
            end, given = self._ends.get(name), classical[name]
            if end is not None:
                given = _standardized(self.joint.scalers[name], f"{name}_classical_standardized")(given)
            mixed = mixture([features[name], deep[name], given])
            found[name] = mixed if end is None else end(mixed)
        return found


def trunk_features(owner: str, model: Any) -> tuple[Any, dict[str, Any]]:
    """Finds what the heads of a model read.

    Args:
        owner: Whose arguments a refusal names.
        model: A `MultiTaskModel`.

    Returns:
        The features as a vector, the mean over the places of a map or a sequence; and the same by task, behind the
        fork if there is one, so that gradients by task keep apart.

    Raises:
        ValueError: If the tasks read no one tensor.
    """
    if len(model.tasks) == 1:
        name = next(iter(model.tasks))
        features = layer_behind(_before_unit(model, name)).input
        if not isinstance(features, keras.KerasTensor):
            got = words(f"a head of {name!r} that reads several")
            raise ValueError(refusal(owner, "build", "must make a head that reads one tensor", got))
        return _vector(features), {name: _vector(features)}
    end = shared_trunk(owner, model).output
    forks = [fork for fork in model.forks if fork in model.layers and set(fork.names) == set(model.tasks)]
    # Keras keeps the outputs of a layer as a flat list.
    same = dict.fromkeys(model.tasks, end)
    own = keras.tree.pack_sequence_as(same, forks[0].output) if forks else same
    return _vector(end), {name: _vector(own[name]) for name in model.tasks}


def _vector(features: Any) -> Any:
    """Features `(batch, width)`."""
    if len(features.shape) == 2:
        return features
    places = keras.layers.Reshape((-1, features.shape[-1]))(features)
    return keras.layers.GlobalAveragePooling1D()(places)


def _before_unit(model: Any, name: str) -> Any:
    """An output, of values on the standardised scale."""
    return model.scalers[name].input if name in model.scalers else model.output[name]


def _like(scaler: Any) -> Unstandardize:
    """The same way back to the unit."""
    made = Unstandardize(name=scaler.name)
    made.build((None, *scaler.mean.shape))
    made.learn(scaler.mean.numpy(), scaler.scale.numpy())
    return made


def _standardized(scaler: Any, name: str) -> Any:
    """The layer from the label's unit to the standardised scale."""
    mean, scale = scaler.mean.numpy().tolist(), scaler.scale.numpy()
    return keras.layers.Normalization(mean=mean, variance=(scale**2).tolist(), dtype="float32", name=name)
