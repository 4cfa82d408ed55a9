"""Signatures beside the base ones: image files in, read outputs out."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from kmtl import _checks
from kmtl.export import decoding, images, signatures

DECODED = "decoded"
IMAGE_BYTES = "image_bytes"


@dataclasses.dataclass(frozen=True)
class Forms:
    """What else a SavedModel is to offer.

    Attributes:
        decode: Whether outputs are read: labels and probabilities, values.
        files: How image files become inputs, by input name.
    """

    decode: bool
    files: dict[str, images.Images]

    def suffixes(self) -> list[str]:
        """Returns the forms that there are besides the base one."""
        return [DECODED] * self.decode + [IMAGE_BYTES] * bool(self.files)

    def settings(self) -> dict[str, Any]:
        """Returns the images' settings in terms that JSON knows."""
        return {name: one.settings() for name, one in self.files.items()}


def check_forms(refusals: _checks.Refusals, model: Any, outputs: Mapping[str, Any], decode: bool, files: Any) -> Forms:
    """Returns what is asked for and records what this model cannot offer."""
    if not outputs:
        return Forms(False, {})
    forms = Forms(bool(decode), images.by_input(refusals, model, files))
    if decode:
        decoding.refuse(refusals, model, outputs)
    taken = {signatures.JOINT, *outputs}
    for suffix in forms.suffixes():
        for name in taken & {signature_name(base, suffix) for base in taken}:
            refusals.add("tasks", "must leave the names of further signatures free", name, "Rename the task.")
    return forms


def signature_name(base: str, suffix: str) -> str:
    """Names a further signature after the base one.

    >>> signature_name("serving_default", "decoded"), signature_name("digit", "decoded")
    ('decoded', 'digit.decoded')
    """
    return suffix if base == signatures.JOINT else f"{base}.{suffix}"


def endpoints(model: Any, outputs: Mapping[str, Any], forms: Forms) -> tuple[dict[str, Any], tf.Module]:
    """Traces the base signatures and, for each, those of the further forms.

    `decoded` reads the outputs; `image_bytes` takes image files, and reads the outputs too if that is asked for.
    Inputs that take no images stay what they are.

    Returns:
        Concrete functions by signature name, and what keeps the one set of weights that they share.
    """
    tasks = getattr(model, "tasks", None) or {}
    given = signatures.specs(model)
    files = {name: tf.TensorSpec((None,), tf.string, name) for name in forms.files}

    def decode(found: Any) -> Any:
        return decoding.decoded(tasks, found)

    tell = decode if forms.decode else signatures.identity
    ways = {
        DECODED: (given, signatures.identity, tell),
        IMAGE_BYTES: ({**given, **files}, _reader(model, forms), tell),
    }
    with signatures.parts(model, outputs) as parts:
        functions = {name: signatures.trace(run, given) for name, run in parts.items()}
        for suffix in forms.suffixes():
            for name, run in parts.items():
                functions[signature_name(name, suffix)] = signatures.trace(run, *ways[suffix])
        return functions, signatures.keeper(model, functions)


def _reader(model: Any, forms: Forms) -> Any:
    """Returns a function that turns the image files among a signature's inputs into images."""
    tensors = {tensor.name: tensor for tensor in model.inputs}

    def read(inputs: Mapping[str, Any]) -> dict[str, Any]:
        made = {name: images.read(inputs[name], one, tensors[name]) for name, one in forms.files.items()}
        return {**inputs, **made}

    return read


def describe(functions: Mapping[str, Any]) -> dict[str, Any]:
    """Describes signatures in terms that JSON knows: shape and dtype of each input and output."""
    return {
        name: {
            "inputs": _forms_of(function.structured_input_signature[0][0].items()),
            "outputs": _forms_of(function.structured_outputs.items()),
        }
        for name, function in functions.items()
    }


def _forms_of(specs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Shape and dtype by name; None is any size."""
    return {name: {"shape": list(spec.shape), "dtype": spec.dtype.name} for name, spec in specs}


def requests(functions: Mapping[str, Any], forms: Forms, samples: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the inputs of a request to each signature.

    Args:
        functions: Concrete functions by signature name.
        forms: How image files become inputs.
        samples: The model's inputs by name.
    """
    files = {name: images.encode(samples[name], one) for name, one in forms.files.items()}
    given: dict[str, dict[str, Any]] = {}
    for signature, function in functions.items():
        specs = function.structured_input_signature[0][0]
        given[signature] = {
            name: files[name] if name in files and spec.dtype == tf.string else samples[name]
            for name, spec in specs.items()
        }
    return given
