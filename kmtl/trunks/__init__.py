"""Shared encoders: functions from an image to features: a vector `(batch, width)`, a map or a sequence."""

from kmtl.trunks.backbone import backbone
from kmtl.trunks.convnet import convnet
from kmtl.trunks.features import pool
from kmtl.trunks.inception import inception
from kmtl.trunks.options import Options
from kmtl.trunks.resnet import resnet
from kmtl.trunks.stages import stages
from kmtl.trunks.vgg import vgg

__all__ = ["Options", "backbone", "convnet", "inception", "pool", "resnet", "stages", "vgg"]
