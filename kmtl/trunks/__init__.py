"""Shared encoders: functions from an image to features of shape `(batch, width)`."""

from kmtl.trunks.backbone import backbone
from kmtl.trunks.convnet import convnet
from kmtl.trunks.inception import inception
from kmtl.trunks.resnet import resnet
from kmtl.trunks.vgg import vgg

__all__ = ["backbone", "convnet", "inception", "resnet", "vgg"]
