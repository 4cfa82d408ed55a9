"""Datasets with named labels, some of them missing."""

from kmtl.data.catalogue import names, tasks
from kmtl.data.hiding import hide_labels
from kmtl.data.loading import load
from kmtl.data.mixing import mix, steps_per_epoch
from kmtl.data.preparing import register
from kmtl.data.sharded import from_shards
from kmtl.data.sources import from_arrays, from_folder, from_frame
from kmtl.data.splitting import only, split_by_task
from kmtl.data.verifying import check_shards
from kmtl.data.writing import write_shards

__all__ = [
    "check_shards",
    "from_arrays",
    "from_folder",
    "from_frame",
    "from_shards",
    "hide_labels",
    "load",
    "mix",
    "names",
    "only",
    "register",
    "split_by_task",
    "steps_per_epoch",
    "tasks",
    "write_shards",
]
