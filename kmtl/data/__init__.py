"""Datasets with named labels, some of them missing."""

from kmtl.data.catalogue import names, tasks
from kmtl.data.hiding import hide_labels
from kmtl.data.loading import load
from kmtl.data.preparing import register

__all__ = [
    "hide_labels",
    "load",
    "names",
    "register",
    "tasks",
]
