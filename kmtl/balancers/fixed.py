"""Balancers whose weights do not move."""

from typing import Any, ClassVar

from keras import ops

from kmtl.balancers.base import Balancer, register


@register("equal")
class Equal(Balancer):
    """Weight 1 for every task: the sum of the losses, which is plain Keras.

    >>> ops.convert_to_numpy(Equal().weigh(losses=ops.array([1.0, 3.0]))).tolist()
    [1.0, 1.0]
    """

    needs: ClassVar[str] = "losses"

    def task_weights(self, losses: Any, gram: Any, present: Any) -> Any:  # noqa: ARG002 - the contract's arguments
        """Ones."""
        return ops.ones_like(losses)
