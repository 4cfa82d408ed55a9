"""Callbacks over several tasks: moving loss weights, the joint score, per-class reports; and backups."""

from kmtl.callbacks.backup import BackupAndRestore
from kmtl.callbacks.joint_score import DeltaM
from kmtl.callbacks.loss_weights import LossWeightScheduler
from kmtl.callbacks.reports import ClassificationReports

__all__ = ["BackupAndRestore", "ClassificationReports", "DeltaM", "LossWeightScheduler"]
