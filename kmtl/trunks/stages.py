"""The maps on the way to a trunk's last one, from fine to coarse."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kmtl._checks import Refusals, is_whole
from kmtl._keras_private import call_again, path
from kmtl.tasks.feature_forms import grows, is_map

_OWNER = "stages"
# A stage is at least so many times as large as the next: a convolution without padding takes a few pixels off.
_STEP = 1.5
# Stands for a side of unknown size, to tell how sizes go with each other.
_SIDE = 512


class _Graph(NamedTuple):
    """Where maps come from.

    Attributes:
        inputs: KerasTensors that the maps are computed from.
        shapes: Of what is put into them, a number for each side of a map.
    """

    inputs: list[Any]
    shapes: list[Any]

    def sizes(self, maps: Sequence[Any]) -> list[tuple[int, int]]:
        """Height and width of maps; from the inputs where they are open."""
        shapes: Any = [tuple(tensor.shape) for tensor in maps]
        if any(None in shape[1:] for shape in shapes):
            single = len(self.inputs) == 1
            model = keras.Model(self.inputs[0] if single else self.inputs, list(maps))
            shapes = model.compute_output_shape(self.shapes[0] if single else self.shapes)
        return [tuple(shape[1:3]) for shape in shapes]


def stages(features: Any, *, most: int | None = None, full: bool = False) -> list[Any]:
    """Lists the maps of a trunk, from fine to coarse: the last one of each resolution on the way to its map.

    Heads on maps make fine outputs of them: `from_features(image, {"map": stages(map)}, tasks)`. A map counts where all
    that the last one is computed from passes through it, so that no branch's half is taken for the whole; a resolution
    where it is at least 1.5 times the next in a side, so that a convolution without padding begins none.

    Take the vector of the same trunk from the last of the list: `pool(stages(map)[-1])`. It is `features` itself, but
    of `backbone(model, image)`, whose maps come out of a new call of the model's layers.

    Args:
        features: A map `(batch, height, width, channels)`, as a trunk returns it with `pooling=None`.
        most: How many maps at most, the coarsest ones; None is all.
        full: Whether a map of the input's own resolution is listed too. A decoder's 3x3 convolution costs four times
            as much there as on the next map, often more than all of the trunk, and an enlargement by two tells
            nearly the same.

    Returns:
        Maps, the last of which is the coarsest; one alone where nothing finer is found, as in a trunk that enlarges
        its map again or is no functional model.

    Raises:
        ValueError: If `features` is no map, or an option is out of range.

    >>> from kmtl.trunks import convnet
    >>> image = keras.Input((32, 32, 1))
    >>> [tuple(map.shape[1:]) for map in stages(convnet(image, widths=(8, 16, 24), pooling=None))]
    [(16, 16, 16), (8, 8, 24), (4, 4, 24)]
    """
    with Refusals(_OWNER) as refusals:
        if not is_map(features):
            got = getattr(features, "shape", features)
            rule = "must be a KerasTensor of shape (batch, height, width, channels)"
            refusals.add("features", rule, got, "Build the trunk with pooling=None.")
        if most is not None and not (is_whole(most) and most >= 1):
            refusals.add("most", "must be a whole number of at least 1, or None", most)
        if not isinstance(full, bool):
            refusals.add("full", "must be True or False", full)
    inputs = [node.outputs[0] for node in path([features], ()).nodes if node.is_input]
    graph = _Graph(inputs, [_filled(tensor.shape) for tensor in inputs])
    found = _last_of_each_resolution(features, graph)
    finest = graph.sizes(found[:1])[0]
    if not full and len(found) > 1 and any(len(one) == 4 and not _is_next(one[1:3], finest) for one in graph.shapes):
        found = found[1:]
    return found[-most if most else 0 :]


def _filled(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """The shape of an input with a number for each side that is open."""
    return (None, *(_SIDE if side is None else side for side in shape[1:]))


def _last_of_each_resolution(tensor: Any, graph: _Graph) -> list[Any]:
    """The stages up to a map, from fine to coarse, it being the last."""
    tensor, inside = _opened(tensor, graph)
    maps = _passed(tensor, inside)
    sizes = graph.sizes(maps)
    # A layer that only pads makes a map larger; the one before it is the stage's.
    padded = [False, *(grows(*pair) for pair in itertools.pairwise(sizes))]
    found, last = [tensor], sizes[-1]
    for one, size, is_padded in reversed(list(zip(maps[:-1], sizes, padded, strict=False))):
        if not is_padded and _is_next(size, last):
            found.insert(0, one)
            last = size
    return found


def _is_next(size: Sequence[int], coarser: Sequence[int]) -> bool:
    """Whether a map is so much larger that it is another stage."""
    return any(one >= _STEP * other for one, other in zip(size, coarser, strict=True))


def _passed(tensor: Any, inside: Sequence[Any]) -> list[Any]:
    """The maps that all of the way to a map passes, and the stages inside of a model on it, in their order."""
    nodes = path([tensor], ()).nodes
    last_read = {id(one): place for place, node in enumerate(nodes) for one in node.input_tensors}
    known, found, open_until = {id(one) for one in inside}, [], -1
    for place, node in enumerate(nodes):
        maps = [one for one in node.outputs if is_map(one)]
        read = [one for one in maps if one is tensor or id(one) in last_read]
        alone = len(read) == 1 and open_until <= place and not node.is_input
        found += [one for one in maps if id(one) in known or (alone and one is read[0])]
        open_until = max([open_until, *(last_read.get(id(one), -1) for one in maps)])
    return found


def _opened(tensor: Any, graph: _Graph) -> tuple[Any, list[Any]]:
    """Calls a model that stands on the way once more, so that it gives its stages, too.

    Returns:
        The last map, of the new call, and the stages inside of that model; the same map and none without such a model.
    """
    nodes = path([tensor], ()).nodes
    read = {id(tensor), *(id(one) for node in nodes for one in node.input_tensors)}
    for node in nodes:
        model, used = node.operation, [place for place, one in enumerate(node.outputs) if id(one) in read]
        if len(used) == 1 and isinstance(model, keras.Model) and is_map(node.outputs[used[0]]):
            within = _within(node, used[0], graph)
            if len(within) > 1:
                # The input of a `Sequential` is what it was called on.
                start = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
                outputs = call_again(node, keras.Model(start, within, name=model.name))
                known = {id(node.outputs[used[0]]): outputs[-1]}
                return path([tensor], known).values(known)[0], outputs
    return tensor, []


def _within(node: Any, used: int, graph: _Graph) -> list[Any]:
    """The stages inside of a model that is called, up to its output that is used; none where it shows no graph."""
    model = node.operation
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        return []
    shapes = [_filled(one.shape) for one in node.input_tensors]
    maps = [place for place, one in enumerate(node.input_tensors) if len(one.shape) == 4]
    for place, size in zip(maps, graph.sizes([node.input_tensors[place] for place in maps]), strict=True):
        shapes[place] = (None, *size, shapes[place][-1])
    return _last_of_each_resolution(model.outputs[used], _Graph(list(model.inputs), shapes))
