"""Members whose linear outputs are added up, trained as one model."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl._checks import Refusals, is_number, require, whole, words
from kmtl._keras_private import layer_behind
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.tasks.linear_outputs import LinearOutput, linear_output
from kmtl.training.combined import inputs_like
from kmtl.training.recipe import Recipe, share
from kmtl.training.work import Work


class OutputSum(Recipe):
    """One model that adds up what several members give before their last activation: one loss, one training.

    With members f_1 .. f_M of the build function, each with a trunk and heads of its own and weights of its own seed,

        y_hat(x) = end(a_1 f_1(x) + ... + a_M f_M(x))

    where f_m is linear: logits, or the standardised value of a regression, and `end` is the softmax, the sigmoid or the
    way back to the label's unit that all of them share. The gradient of the loss with regard to f_m is a_m times that
    with regard to the sum, so that all members learn at once what the others leave; nothing makes any of them a model
    by itself. That is what differs from `Bagging`, whose members are trained apart.

    A head is refused that ends in something else: in a product of other tasks' outputs, or in a layer of the user's
    own, of which nobody can tell what stands before it.

    Cost: M, as each batch goes through M trunks.

    Row S0-06 of the articles, "direct addition", which leaves open what is added. The labels of different tasks have no
    sum that means anything, and the sum of losses is `Joint`.

    Args:
        members: Number of members, 2 or more.
        factors: One factor a member, a_m; None for 1 each.
        epochs: As a multiple of the given epochs.

    >>> OutputSum(members=3, factors=(1.0, 0.5, 0.5))
    OutputSum(members=3, factors=(1.0, 0.5, 0.5))
    """

    source = "Row S0-06 of the articles: direct addition"

    def __init__(self, members: int = 2, *, factors: Sequence[float] | None = None, epochs: float = 1.0) -> None:
        self.members = whole("OutputSum", "members", members, 2)
        known = factors is None or (
            isinstance(factors, list | tuple)
            and len(factors) == self.members
            and all(is_number(factor) and factor for factor in factors)
        )
        rule = f"must hold {self.members} finite numbers other than 0, one a member"
        require(known, "OutputSum", "factors", rule, factors)
        self.factors = None if factors is None else tuple(factors)
        self.epochs = share("OutputSum", "epochs", epochs)

    def run(self, work: Work) -> Any:
        """Trains the sum."""
        members = [work.model(seed=work.member_seed(member)) for member in range(self.members)]
        made = output_sum(members, self.factors or [1.0] * self.members)
        work.fit("sum", made, epochs=self.epochs, passes=self.members)
        return made


def output_sum(members: Sequence[Any], factors: Sequence[float]) -> MultiTaskModel:
    """Makes one model of the sum of several models' linear outputs; their layers become its own.

    Args:
        members: Compiled models of the same tasks on the same inputs. They are used up: their layers bear other names.
        factors: One a member.

    Returns:
        A `MultiTaskModel`, compiled as the first member is.

    Raises:
        ValueError: If a head has no linear output that is known.
    """
    first = members[0]
    with first.distribute_strategy.scope():
        linear = [linear_outputs(member) for member in members]
        inputs = inputs_like(first)
        parts = [
            _on_inputs(member, {name: one.tensor for name, one in found.items()}, inputs, f"member_{place}")
            for place, (member, found) in enumerate(zip(members, linear, strict=True), 1)
        ]
        outputs = {
            name: linear[0][name].end(weighted_sum(name, [part[name] for part in parts], factors))
            for name in first.tasks
        }
        made = MultiTaskModel(inputs, outputs, tasks=list(first.tasks.values()))
        return compile_like(made, first, balancer=same_balancer(first))


def same_balancer(model: Any) -> Any:
    """A balancer of the same settings as a compiled model's, without its state."""
    return type(model.setup.balancer).from_config(model.setup.balancer.get_config())


def linear_outputs(model: Any, owner: str = "OutputSum") -> dict[str, LinearOutput]:
    """Finds what each head of a model gives before its last activation.

    Args:
        model: A `MultiTaskModel`.
        owner: Whose arguments a refusal names.

    Raises:
        ValueError: If one ends otherwise, all of them at once.
    """
    copies: dict[int, Any] = {}
    found = {name: linear_output(task, model.output[name], copies) for name, task in model.tasks.items()}
    with Refusals(owner) as refusals:
        for name, one in found.items():
            if one is None:
                rule = f"must make a head of {name!r} that ends in a linear layer and an activation"
                got = words(f"one that ends in {type(layer_behind(model.output[name])).__name__}")
                fix = "What stands before it can be no sum; Bagging averages outputs of any kind."
                refusals.add("build", rule, got, fix)
    return {name: one for name, one in found.items() if one is not None}


def _on_inputs(model: Any, tensors: Mapping[str, Any], inputs: Any, suffix: str) -> dict[str, Any]:
    """Computes tensors of a model from other inputs, by the same layers under names of their own."""

    def renamed(layer: Any) -> Any:
        layer.name = f"{layer.name}_{suffix}"
        return layer

    part = keras.Model(model.input, dict(tensors))
    return keras.models.clone_model(part, input_tensors=inputs, clone_function=renamed).output


def weighted_sum(task: str, tensors: Sequence[Any], factors: Sequence[float]) -> Any:
    """Adds up tensors, each times its factor."""
    scaled = [
        tensor if factor == 1 else keras.layers.Rescaling(factor, dtype="float32", name=f"{task}_part_{place}")(tensor)
        for place, (tensor, factor) in enumerate(zip(tensors, factors, strict=True), 1)
    ]
    return keras.layers.Add(dtype="float32", name=f"{task}_sum")(scaled)
