"""Losses and metrics over the outputs of several tasks."""

from kmtl.joint_terms.joint_loss import JointLoss
from kmtl.joint_terms.joint_metric import JointMetric, JointMetricTracker
from kmtl.joint_terms.joint_term import REAL, JointTerm
from kmtl.joint_terms.sums import JointSums

__all__ = ["REAL", "JointLoss", "JointMetric", "JointMetricTracker", "JointSums", "JointTerm"]
