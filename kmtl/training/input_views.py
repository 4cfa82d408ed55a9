"""Parts of the inputs that each tell the label: an input of several, or what a function leaves of them."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl._checks import refusal, words
from kmtl.sharing import present_rows
from kmtl.training.trunk_branches import by_name, with_inputs

_FIX = "Make both by keras.ops, of the input's own shape: what is left out is zeros."


class InputView:
    """What a model sees of its inputs.

    Args:
        name: What it is called.
        keep: Name of the one input that is seen, the others being rows of zeros; or a function of the inputs.
        inputs: Names of all inputs, in order.

    >>> view = InputView("text", "text", ["image", "text"])
    >>> [one.numpy().tolist() for one in view([ops.array([[0.5]]), ops.array([[7]])])]
    [[[0.0]], [[7]]]
    """

    def __init__(self, name: str, keep: str | Callable[[Any], Any], inputs: Sequence[str] = ()) -> None:
        self.name, self.keep, self.inputs = name, keep, list(inputs)

    def __call__(self, x: Any) -> Any:
        """The view of inputs: of arrays, tensors or Keras tensors, in their structure."""
        if callable(self.keep):
            return self.keep(x)
        others = {name: ops.zeros_like(one) for name, one in by_name(x, self.inputs).items() if name != self.keep}
        return with_inputs(x, others, self.inputs)

    def of_arrays(self, owner: str, x: Any) -> Any:
        """The view of arrays, as arrays; refuses one of another form.

        Args:
            owner: Who asks, for the message.
            x: Arrays in any structure.
        """
        found = keras.tree.map_structure(np.asarray, self(keras.tree.map_structure(ops.convert_to_tensor, x)))
        forms = [keras.tree.map_structure(lambda one: (one.shape, str(one.dtype)), part) for part in (found, x)]
        if forms[0] != forms[1]:
            got = words(f"{forms[0]} from {self.name} for {forms[1]}")
            raise ValueError(refusal(owner, "views", "must keep shape and dtype of the inputs", got, _FIX))
        return found

    @staticmethod
    def present(x: Any) -> Any:
        """In which rows of a view anything is there, `(rows,)`."""
        return np.any([np.asarray(present_rows(part)) for part in keras.tree.flatten(x)], axis=0)
