"""How the tasks' losses or gradients are balanced against each other."""

from kmtl.balancers.base import Balancer, get, names, register
from kmtl.balancers.by_gramian import PCGrad
from kmtl.balancers.by_losses import Uncertainty
from kmtl.balancers.fixed import Equal

__all__ = ["Balancer", "Equal", "PCGrad", "Uncertainty", "get", "names", "register"]
