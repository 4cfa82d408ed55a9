"""Datasets with named labels, some of them missing."""

from kmtl.data.catalogue import names, tasks
from kmtl.data.hiding import hide_labels
from kmtl.data.loading import load
from kmtl.data.mixing import mix, steps_per_epoch
from kmtl.data.preparing import register
from kmtl.data.sources import from_arrays, from_folder, from_frame
from kmtl.data.splitting import only, split_by_task

__all__ = [
    "from_arrays",
    "from_folder",
    "from_frame",
    "hide_labels",
    "load",
    "mix",
    "names",
    "only",
    "register",
    "split_by_task",
    "steps_per_epoch",
    "tasks",
]
