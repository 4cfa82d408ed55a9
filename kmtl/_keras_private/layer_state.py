"""All that a layer holds, given to another of the same settings."""

import tempfile
from typing import Any


def copy_state(old: Any, new: Any) -> None:
    """Gives a built layer, or model, all that an alike one holds: weights, generators, vocabularies, what is frozen.

    Args:
        old: A built layer.
        new: One made of its config, and built.
    """
    pairs = list(zip(old._flatten_layers(), new._flatten_layers(), strict=True))
    for one, other in pairs:
        other.trainable = one.trainable
    for one, other in pairs:
        held: dict[str, Any] = {}
        one.save_own_variables(held)
        if held:
            other.load_own_variables(held)
        if hasattr(one, "save_assets") and hasattr(other, "load_assets"):
            with tempfile.TemporaryDirectory() as folder:
                one.save_assets(folder)
                other.load_assets(folder)
    for source, target in zip(old.variables, new.variables, strict=True):
        # Among them what Keras leaves out of its files: the state of random generators.
        target.assign(source)
        if target.trainable != source.trainable:
            target.trainable = source.trainable
