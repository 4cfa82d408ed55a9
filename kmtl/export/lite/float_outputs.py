"""Finds what must stay float in an int8 file, so that its float outputs are not rounded to 256 values.

An int8 tensor has one scale for all of its elements. A regression of two numbers, one in thousands and one in units,
would lose the second one whole.
"""

from collections.abc import Collection, Iterator
from typing import Any


def nodes(content: bytes, tasks: Collection[str]) -> list[str]:
    """Names the operations that give some outputs, as the converter calls operations: by a tensor they make.

    Args:
        content: A LiteRT file before its numbers are rounded.
        tasks: Names of the outputs.

    Returns:
        The last operation before each output in every signature, and what scales and shifts values before it.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    # What turns standardised values back into the label's unit, where the converter has not made it part of the kernel.
    steps = {
        place
        for place, code in enumerate(model.operatorCodes)
        if code.builtinCode in (schema.BuiltinOperator.ADD, schema.BuiltinOperator.MUL)
    }
    found: set[str] = set()
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        ends = [entry.tensorIndex for entry in signature.outputs if entry.name.decode() in tasks]
        found.update(graph.tensors[index].name.decode() for index in _made_last(graph, ends, steps))
    return sorted(found)


def _made_last(graph: Any, ends: list[int], steps: Collection[int]) -> Iterator[int]:
    """Yields the tensors that the last operations before some tensors make."""
    makers = {index: operation for operation in graph.operators for index in operation.outputs}
    waiting = [(index, True) for index in ends]
    while waiting:
        index, is_end = waiting.pop()
        operation = makers.pop(index, None)
        if operation is None:
            continue
        is_step = operation.opcodeIndex in steps
        if is_step or is_end:
            yield from (int(made) for made in operation.outputs)
        if is_step:
            waiting += [(int(source), False) for source in operation.inputs]
