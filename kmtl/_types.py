"""Names for what Keras leaves untyped, and for what goes by task."""

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

#: A tensor of the backend, a Keras tensor, or what Keras takes for one. Keras ships no types: it is `Any` to a checker.
Tensor: TypeAlias = Any
#: A Keras variable.
Variable: TypeAlias = Any
#: One value a task, by its name.
ByTask: TypeAlias = Mapping[str, T]
#: What Keras logs of a step or of an epoch, by name.
Logs: TypeAlias = Mapping[str, float]
