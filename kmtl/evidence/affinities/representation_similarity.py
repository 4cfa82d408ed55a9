"""How alike the features of models are that see the same examples: linear CKA and RSA."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kmtl._checks import near, refusal, words
from kmtl._keras_private import layer_behind
from kmtl.feeding.arrays import with_text_as_tensors

MEASURES = ("cka", "rsa")


def similarity(features: Sequence[Any], measure: str) -> Any:
    """Makes the function of rows' places that tells how alike several features of these rows are, `(K, K)`.

    Args:
        features: Of each model `(rows, ...)`, of the same rows; widths may differ.
        measure: `"cka"` or `"rsa"`.

    >>> one = np.random.default_rng(0).normal(size=(50, 4))
    >>> turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    >>> similarity([one, 3 * one @ turned + 1], "cka")(np.arange(50)).round(6).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    flat = [np.reshape(np.asarray(part, "float64"), (len(part), -1)) for part in features]
    return {"cka": _cka, "rsa": _rsa}[measure](flat)


def _cka(features: Sequence[Any]) -> Any:
    """Linear centred kernel alignment.

        CKA = |Y'X|_F^2 / (|X'X|_F |Y'Y|_F),   X and Y with centred columns

    1 for Y = c X Q + b with Q orthogonal; in 0 .. 1. Kornblith et al., "Similarity of Neural Network Representations
    Revisited", ICML 2019. By the matrices of inner products of rows, which have the same norms.
    """
    # Centred before as well: the digits of a large mean would be lost.
    kernels = [part @ part.T for part in (values - values.mean(axis=0) for values in features)]

    def of(rows: Any) -> Any:
        chosen = [kernel[np.ix_(rows, rows)] for kernel in kernels]
        return _alignment(np.stack([_centred(kernel).ravel() for kernel in chosen]))

    return of


def _centred(kernel: Any) -> Any:
    """The inner products of the centred rows."""
    means = kernel.mean(axis=0)
    return kernel - means - means[:, None] + means.mean()


def _rsa(features: Sequence[Any]) -> Any:
    """Representation similarity analysis.

        RDM_ab = 1 - Pearson(features of a, features of b),   similarity = Spearman of the upper triangles

    1 where features are scaled, shifted all alike, or their places exchanged; in -1 .. 1. Dwivedi and Roig,
    "Representation Similarity Analysis for Efficient Task Taxonomy and Transfer Learning", CVPR 2019.
    """
    from scipy import stats

    scaled = [values - values.mean(axis=1, keepdims=True) for values in features]
    lengths = [np.linalg.norm(values, axis=1, keepdims=True) for values in scaled]
    # Features that are all one number have no correlation; they stand for unlike.
    unit = [values / np.where(length > 0, length, 1.0) for values, length in zip(scaled, lengths, strict=True)]
    # Rounded, so that what is tied stays so whatever the features' scale.
    unlike = [np.round(1.0 - values @ values.T, 9) for values in unit]

    def of(rows: Any) -> Any:
        upper = np.triu_indices(len(rows), 1)
        ranks = [stats.rankdata(part[np.ix_(rows, rows)][upper]) for part in unlike]
        return _alignment(np.stack([part - part.mean() for part in ranks]))

    return of


def _alignment(vectors: Any) -> Any:
    """Cosines of vectors, NaN of one that is 0."""
    lengths = np.linalg.norm(vectors, axis=1)
    safe = np.where(lengths > 0, lengths, np.nan)
    return np.clip(vectors @ vectors.T / np.outer(safe, safe), -1.0, 1.0)


def features_of(model: Any, task: str, x: Any, layer: str | None) -> Any:
    """What a model of one task makes of inputs before its head.

    Args:
        model: A `MultiTaskModel`.
        task: Name of the task.
        x: Inputs.
        layer: Name of the layer whose output is taken; None takes what the head reads: the input of the first layer
            that bears the task's name, or else of the layer that gives the output.

    Raises:
        ValueError: If there is no such layer.
    """
    layers = {found.name: found for found in model.layers}
    if layer is not None and layer not in layers:
        raise ValueError(refusal("affinity", "layer", "must be a layer of every model", layer, near(layer, layers)))
    if layer is not None:
        end = layers[layer].output
    else:
        head = [found for name, found in layers.items() if name == task or name.startswith(f"{task}_")]
        head = head or [layer_behind(model.output[task])]
        if isinstance(head[0].input, list | dict):
            fix = "Say whose output is compared: layer=, the name of a layer of every model."
            got = words(f"none for {task!r}")
            raise ValueError(refusal("affinity", "source", "must have a head that reads one tensor", got, fix))
        end = head[0].input
    return np.asarray(keras.Model(model.input, end).predict(with_text_as_tensors(x), verbose=0))
