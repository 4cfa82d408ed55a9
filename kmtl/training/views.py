"""Two views of a batch: a weak one, and a strong one that is made of it."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import Refusals, is_number, words
from kmtl.feeding.order import key_of
from kmtl.training.image_views import disturbed, shifted
from kmtl.training.pseudo_labels import real_rows

_RULE = "must be None, a standard deviation or (weak, strong)"
_FIX = (
    "Pass augment=(weak, strong), functions x -> x or (x, seed) -> x or Keras layers; weak may be None; or a number, "
    "the standard deviation of noise on float inputs."
)


class Views:
    """Makes two views of inputs, which a model ought to answer alike.

    The strong view is made of the weak one. So both show the same place from the same side, and what moves or turns
    an image belongs into the weak view: it may change labels, since no label is held against a view. What is strong
    must not change them.

    A draw is a function of the seed, the step and the replica: a killed training repeats it.

    Args:
        augment: None for images; a number, the standard deviation of Gaussian noise; or `(weak, strong)`.
        seed: Of the draws.

    >>> views = Views(0.5, seed=1)
    >>> weak, strong = views(tf.ones((2, 3)), step=0)
    >>> strong.shape, bool(tf.reduce_all(weak == 1.0)), bool(tf.reduce_any(strong == 1.0))
    (TensorShape([2, 3]), True, False)
    """

    def __init__(self, augment: Any, seed: int) -> None:
        self.seed = int(seed)
        if augment is None:
            self.changes: Sequence[Any] = (_every(shifted), _every(disturbed))
        elif is_number(augment):
            self.changes = (None, lambda x, key: _noisy(x, key, float(augment)))
        else:
            self.changes = tuple(augment)
        self._seed_layers()

    @property
    def variables(self) -> list[Any]:
        """What layers among the changes hold."""
        layers = [change for change in self.changes if isinstance(change, keras.layers.Layer)]
        return [variable for layer in layers for variable in layer.variables]

    def _seed_layers(self) -> None:
        """Lets the generators of layers begin at the seed, whatever they drew before."""
        for place, variable in enumerate(self.variables):
            if variable.name == "seed_generator_state":
                variable.assign([self.seed % 2**31, place])

    @property
    def has_weak(self) -> bool:
        """Whether the weak view is not the input itself."""
        return self.changes[0] is not None

    def __call__(self, x: Any, step: Any) -> tuple[Any, Any]:
        """Returns the weak and the strong view of a batch.

        Args:
            x: Inputs, as the model takes them.
            step: Number of the step.
        """
        weak, strong = self.changes
        kept = x if weak is None else _changed(weak, x, self._key(0, step))
        return kept, _changed(strong, kept, self._key(1, step))

    def _key(self, view: int, step: Any) -> Any:
        """The key of one view's draws in a step on this replica."""
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        key = key_of(self.seed % 2**31, 1 + view, tf.cast(step, tf.int64))
        return tf.random.experimental.stateless_fold_in(key, replica)


def _changed(change: Any, x: Any, key: Any) -> Any:
    """One view: by a layer, by a function that takes a seed, or by one that takes none."""
    if isinstance(change, keras.layers.Layer):
        return change(x, training=True) if _takes(change.call, "training") else change(x)
    return change(x, key) if _takes_seed(change) else change(x)


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of that name."""
    return name in inspect.signature(function).parameters


def _takes_seed(function: Callable[..., Any]) -> bool:
    """Whether a function takes a second argument by its place."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _every(change: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The same change of every input of a structure, drawn for each."""

    def changed(x: Any, key: Any) -> Any:
        parts = keras.tree.flatten(x)
        keys = [tf.random.experimental.stateless_fold_in(key, place) for place in range(len(parts))]
        return keras.tree.pack_sequence_as(x, [change(part, own) for part, own in zip(parts, keys, strict=True)])

    return changed


def _noisy(x: Any, key: Any, deviation: float) -> Any:
    """Inputs with noise; a row of zeros, which stands for a missing input, stays."""

    def noisy(part: Any, own: Any) -> Any:
        noise = deviation * tf.random.stateless_normal(tf.shape(part), own, dtype=part.dtype)
        there = tf.reshape(real_rows(part), (-1, *[1] * (len(part.shape) - 1)))
        return tf.where(there, part + noise, part)

    return _every(noisy)(x, key)


def check_augment(refusals: Refusals, augment: Any, spec: Any) -> None:
    """Records what makes no two views of inputs.

    Args:
        refusals: Where to record.
        augment: As of `Views`.
        spec: `tf.TensorSpec`s of a batch of inputs.
    """
    parts = keras.tree.flatten(spec)
    if augment is None:
        others = [part for part in parts if part.shape.rank != 4]
        if others:
            got = words(f"None for inputs of shape {[tuple(part.shape) for part in others]}, which are no images")
            refusals.add("augment", "must be given for what is no image", got, _FIX)
    elif is_number(augment):
        if augment <= 0:
            refusals.add("augment", "must be a standard deviation above 0", augment)
        if any(not part.dtype.is_floating for part in parts):
            got = words(f"{augment} for inputs of {[part.dtype.name for part in parts]}")
            refusals.add("augment", "must be (weak, strong) for inputs that are no floats", got, _FIX)


def check_form(refusals: Refusals, augment: Any) -> None:
    """Records an `augment` that is of no known form."""
    pair = isinstance(augment, tuple | list) and len(augment) == 2
    if augment is None or is_number(augment):
        return
    if not pair or not callable(augment[1]) or not (augment[0] is None or callable(augment[0])):
        refusals.add("augment", _RULE, augment, _FIX)
