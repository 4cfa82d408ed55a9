"""What an output tells of its own uncertainty, and how that is widened or narrowed afterwards."""

import math
from typing import Any

import numpy as np

from kmtl._keras_private import layer_behind
from kmtl.tasks.standardization import Unstandardize


class Spread(Unstandardize):
    """The end of a head that tells how uncertain it is; one number in it scales all that it tells.

    Args:
        learns: False to leave mean and scale at 0 and 1.
        **kwargs: Keras layer options.
    """

    def __init__(self, *, learns: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learns = learns

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the statistics, and the factor of the spread, which no optimizer touches either."""
        super().build(input_shape)
        self.spread = self.add_weight(shape=(), initializer="ones", trainable=False, name="spread")

    def multiply_spread(self, factor: float) -> None:
        """Makes what the head tells so many times as uncertain.

        Args:
            factor: Above 0.
        """
        self.spread.assign(self.spread * factor)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "learns": self.learns}


def spread_layer(output: Any) -> Any:
    """Finds the layer that scales what an output tells of its uncertainty; None if it does not end in one.

    Args:
        output: A Keras tensor.
    """
    layer = layer_behind(output)
    return layer if isinstance(layer, Spread) else None


def softplus_inverse(value: float) -> float:
    """The number whose softplus is a value above 0.

    >>> round(math.log1p(math.exp(softplus_inverse(1.5))), 6)
    1.5
    """
    return math.log(math.expm1(value))


def smallest_covering(asked: Any, share: float) -> float:
    """The smallest of some numbers that at least a share of them does not pass, were there one more of them.

        the ceil((n + 1) share)-th smallest,    infinity if there are not so many

    Args:
        asked: `(n,)` or of any shape, none missing.
        share: In (0, 1).

    Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005.

    >>> smallest_covering(np.arange(1.0, 10.0), 0.8), smallest_covering(np.ones(3), 0.9)
    (8.0, inf)
    """
    known = np.sort(np.ravel(asked))
    # Rounded: 10 * (1 - 0.9) is a hair above 1.
    place = math.ceil(round((len(known) + 1) * share, 9))
    return float(known[place - 1]) if place <= len(known) else math.inf
