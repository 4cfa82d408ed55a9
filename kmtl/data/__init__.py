"""Datasets with named labels, some of them missing."""

from kmtl.data.augmentation import augment
from kmtl.data.built_in.catalogue import names, tasks
from kmtl.data.built_in.loading import load
from kmtl.data.built_in.preparing import register
from kmtl.data.hiding import hide_labels
from kmtl.data.in_task_space import in_task_space
from kmtl.data.label_pairs import Pairs, pairs
from kmtl.data.mixing.mix import mix, steps_per_epoch
from kmtl.data.mixing.splitting import only, split_by_task
from kmtl.data.partition.split import split
from kmtl.data.shards.from_shards import from_shards
from kmtl.data.shards.verifying import check_shards
from kmtl.data.shards.writing import write_shards
from kmtl.data.sounds import read_wav
from kmtl.data.sources import from_arrays, from_folder, from_frame

__all__ = [
    "Pairs",
    "augment",
    "check_shards",
    "from_arrays",
    "from_folder",
    "from_frame",
    "from_shards",
    "hide_labels",
    "in_task_space",
    "load",
    "mix",
    "names",
    "only",
    "pairs",
    "read_wav",
    "register",
    "split",
    "split_by_task",
    "steps_per_epoch",
    "tasks",
    "write_shards",
]
