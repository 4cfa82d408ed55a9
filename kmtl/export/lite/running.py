"""Runs a LiteRT file in this process, whatever types its inputs and outputs have."""

from collections.abc import Callable, Mapping
from typing import Any

from kmtl.export import fresh_process

Arrays = dict[str, Any]
# From inputs by name to outputs by signature and task.
Run = Callable[[Mapping[str, Any]], dict[str, Arrays]]


def runner(content: bytes) -> Run:
    """Returns a function that runs every signature of a LiteRT file.

    It takes inputs by name in the model's own types and returns outputs by signature and name, floats where the file
    gives int8: what is stored with a scale and a zero point is

        real = (stored - zero_point) * scale

    Args:
        content: The file; built-in ops only.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    return lambda arrays: {name: _ran(found, arrays) for name, found in runners.items()}


def _ran(signature: Any, arrays: Mapping[str, Any]) -> Arrays:
    """Runs one signature."""
    wanted, given = signature.get_input_details(), signature.get_output_details()
    outputs = signature(**{name: fresh_process.quantize(arrays[name], wanted[name]) for name in wanted})
    return {name: fresh_process.dequantize(values, given[name]) for name, values in outputs.items()}
