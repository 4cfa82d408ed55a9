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

    def told(run: signatures.Run) -> signatures.Run:
        return (lambda inputs: decoding.decoded(tasks, run(inputs))) if forms.decode else run

    def on_files(run: signatures.Run) -> signatures.Run:
        return _on_files(model, forms, told(run))

    ways = {DECODED: (given, told), IMAGE_BYTES: ({**given, **files}, on_files)}
    with signatures.parts(model, outputs) as parts:
        functions = {name: signatures.trace(run, given) for name, run in parts.items()}
        for suffix in forms.suffixes():
            takes, around = ways[suffix]
            for name, run in parts.items():
                functions[signature_name(name, suffix)] = signatures.trace(around(run), takes)
        return functions, signatures.keeper(model, functions)


def _on_files(model: Any, forms: Forms, run: signatures.Run) -> signatures.Run:
    """Lets `run` take image files in place of images; rows whose files cannot be read are marked."""
    tensors = {tensor.name: tensor for tensor in model.inputs}

    def run_on_files(inputs: dict[str, Any]) -> dict[str, Any]:
        made = {name: images.read(inputs[name], one, tensors[name]) for name, one in forms.files.items()}
        found = run({**inputs, **{name: values for name, (values, _) in made.items()}})
        return images.marked(found, tf.reduce_all([are_read for _, are_read in made.values()], axis=0))

    return run_on_files


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
