"""Balancers that project on the cone of the directions that ascend no task."""

from typing import Any, ClassVar

from keras import ops

from kmtl._types import Tensor
from kmtl.balancers.by_gramian.preferring import PreferringBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals
from kmtl.balancers.solvers.quadratic import lower_bounded_weights


def upgrad_weights(gram: Tensor, present: Tensor, preference: Any) -> Tensor:
    """Weights of the preferred mean of the projected gradients, `(K,)`.

        w = sum_i v_i,   v_i = argmin v'Mv over v >= p_i e_i

    Args:
        gram: Gramian `M`, `(K, K)`.
        present: Booleans `(K,)`.
        preference: Shares `p`, `(K,)`.

    >>> gram, present = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([True, True])
    >>> [round(float(weight), 4) for weight in upgrad_weights(gram, present, ops.array([0.5, 0.5]))]
    [1.1111, 0.7895]
    """
    # A share multiplies the solution for share 1.
    projected = lower_bounded_weights(gram, present, ops.eye(gram.shape[0]))
    return ops.matmul(preference, projected)


def dual_cone_weights(gram: Tensor, present: Tensor, preference: Any) -> Tensor:
    """Weights of the projected preferred mean, `argmin v'Mv over v >= p`, `(K,)`.

    Args:
        gram: Gramian `M`, `(K, K)`.
        present: Booleans `(K,)`.
        preference: Shares `p`, `(K,)`.

    >>> gram, present = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([True, True])
    >>> [round(float(weight), 4) for weight in dual_cone_weights(gram, present, ops.array([0.5, 0.5]))]
    [0.6111, 0.5]
    """
    return lower_bounded_weights(gram, present, preference[None, :])[0]


@register("upgrad")
class UPGrad(PreferringBalancer):
    """Projects every gradient on the cone of the directions that ascend no task, and sums.

        d = sum_i p_i proj(g_i),   proj(g) = argmin |d - g| over  { d: <d, g_k> >= 0 for all k }

    No task is ascended; without conflict `w = p`. A task's part grows in
    proportion to its gradient, so the direction follows the scales of the
    losses. With two tasks it is the direction of PCGrad.

    Args:
        **options: As for `GramianBalancer`, and `preference`, the shares `p`.

    Source: Quinton and Rey, "Jacobian Descent for Multi-Objective
    Optimization", 2024. Departures: solved exactly, in the cosines, without
    the 1e-4 that the authors' library adds to the scaled Gramian (which leaves
    gradients 100 times shorter than the longest unprotected); by default the weights sum to K.

    >>> gram = ops.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> [round(float(weight), 4) for weight in UPGrad(scale="paper").weigh(gram=gram)]
    [1.1111, 0.7895]
    """

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the sum of the projections."""
        return upgrad_weights(signals.gram, signals.present, self.shares(signals))


@register("dualproj")
class DualProj(PreferringBalancer):
    """Projects the mean gradient on the cone of the directions that ascend no task.

        d = argmin |d - g_0| over  { d: <d, g_k> >= 0 for all k },   g_0 = sum_k p_k g_k

    Without conflict with the mean it is the mean. It follows the scales of the losses.

    Args:
        **options: As for `GramianBalancer`, and `preference`, the shares `p`.

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual
    Learning", NeurIPS 2017; for many objectives Quinton and Rey, "Jacobian
    Descent for Multi-Objective Optimization", 2024. Departures as for `UPGrad`.

    >>> gram = ops.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> [round(float(weight), 4) for weight in DualProj(scale="paper").weigh(gram=gram)]
    [0.6111, 0.5]
    """

    has_online: ClassVar[bool] = True

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the projection."""
        return dual_cone_weights(signals.gram, signals.present, self.shares(signals))
