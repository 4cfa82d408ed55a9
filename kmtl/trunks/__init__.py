"""Shared encoders: functions from an image, a text, a table or a sound to features: a vector, a map or a sequence."""

from kmtl.trunks.backbone import backbone
from kmtl.trunks.convnet import convnet
from kmtl.trunks.features import pool
from kmtl.trunks.fine_tuning import WarmUpLinearDecay, layer_wise
from kmtl.trunks.inception import inception
from kmtl.trunks.log_mel import LogMel
from kmtl.trunks.options import Options
from kmtl.trunks.pretrained_text import pretrained_text
from kmtl.trunks.resnet import resnet
from kmtl.trunks.sound import sound
from kmtl.trunks.stages import stages
from kmtl.trunks.table import table
from kmtl.trunks.table_columns import Columns
from kmtl.trunks.text import text
from kmtl.trunks.vgg import vgg
from kmtl.trunks.vocabulary import vocabulary, word_counts, word_numbers

__all__ = [
    "Columns",
    "LogMel",
    "Options",
    "WarmUpLinearDecay",
    "backbone",
    "convnet",
    "inception",
    "layer_wise",
    "pool",
    "pretrained_text",
    "resnet",
    "sound",
    "stages",
    "table",
    "text",
    "vgg",
    "vocabulary",
    "word_counts",
    "word_numbers",
]
