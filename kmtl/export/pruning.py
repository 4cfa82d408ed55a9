"""Cuts the fused heads of a model to the outputs that are wanted."""

import contextlib
from collections.abc import Iterator
from typing import Any

from kmtl import _keras_private
from kmtl.tasks import FusedHeads


@contextlib.contextmanager
def cut(part: Any, *, copied: bool = False) -> Iterator[None]:
    """Lets fused heads compute for a while only what the outputs of a model need.

    Layers that no output needs are no part of a functional model anyway; a fused layer computes all of its tasks.

    Args:
        part: A functional model; models nested in it are left as they are.
        copied: Whether what is traced meanwhile reads copies of the slices that it needs, so that an artifact without
            the other tasks does not hold their weights.
    """
    with contextlib.ExitStack() as stack:
        for layer in part.layers:
            if isinstance(layer, FusedHeads):
                # Keras flattens a dict of outputs in the order of its sorted keys.
                names = sorted(layer.names)
                needed = [names[position] for position in _keras_private.read_positions(part, layer)]
                if len(needed) < len(names):
                    stack.enter_context(layer.only(needed, copied=copied))
        yield
