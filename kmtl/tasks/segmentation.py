"""One class a pixel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import is_whole, require, whole
from kmtl.tasks.base import Task
from kmtl.tasks.class_options import checked_class_weight, checked_names, likeliest
from kmtl.tasks.pixel_head import PixelHead


@keras.saving.register_keras_serializable(package="kmtl")
class Segmentation(PixelHead, Task):
    """One class out of several for every pixel; the output is a probability a pixel and class.

    The label is an image of integers in `0 .. classes - 1`, -1 where a pixel has none. The head is a 1x1 convolution
    on the map of a trunk (`pooling=None`), whose logits are enlarged to the label's size. On several maps
    (`kmtl.trunks.stages`) a decoder stands before it, which goes from the coarsest map `c_n` to the finest:

        d_n = conv3x3(c_n'),    d_i = conv3x3(enlarged(d_(i+1)) + c_i'),    c' = conv1x1(c)

    each 3x3 convolution with a relu, the enlargements bilinear. Loss: sparse categorical
    cross-entropy, the mean over the labelled pixels of the global batch; metrics: mean intersection over union of the
    classes, and the share of pixels that are right. Class weights weigh pixels; a sample weight is one an image, or
    one a pixel.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        classes: Number of classes, at least 2.
        shape: Height and width of the label; None where they vary, and then `upsampling` counts.
        upsampling: How many times the label is larger than the (finest) map; unused with `shape`.
        decoder: Channels of each stage of the decoder; `"auto"` is 32 on several maps, and no decoder on one; None or
            0 takes the coarsest map alone, without a decoder. Maps finer than the label are left out.
        merge: `"sum"`, as in a feature pyramid, or `"concatenation"`, as in a U-Net: twice the weights.
        ignore: Another label value of pixels that have none, as 255.
        label_names: A name for each class, for reports and exported files.
        class_weight: Weight of each class's pixels in training: a dict or `"balanced"`.
        **options: `loss`, `losses`, `metrics`, `hidden` (channels of 1x1 convolutions), `dropout`, `l1`, `l2`: see
            `Task`.

    Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, its
    FCN-32s, whose last enlargement is bilinear and fixed, too; Lin et al., "Feature Pyramid Networks for Object
    Detection", CVPR 2017, and Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015, of which the decoder is a small form: no normalisation, one convolution a stage.

    >>> task = Segmentation("mask", classes=3, shape=(32, 32))
    >>> task.label_shape, task.output_shape, task.features, task.metric_names()
    ((32, 32), (32, 32, 3), 'map', ['mean_iou', 'accuracy'])
    """

    kind: ClassVar[str] = "segmentation"
    meaning: ClassVar[str] = "a probability for each pixel and class"
    label_dtype: ClassVar[str] = "int32"
    features: ClassVar[str] = "map"
    decides: ClassVar[bool] = True
    chooses: ClassVar[bool] = True
    default_metrics: ClassVar[tuple[str, ...]] = ("mean_iou", "accuracy")
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = dict.fromkeys(
        ("accuracy", "acc"), keras.metrics.sparse_categorical_accuracy
    )

    def __init__(
        self,
        name: str,
        classes: int,
        *,
        shape: Sequence[int] | None = None,
        upsampling: int = 1,
        decoder: int | str | None = "auto",
        merge: str = "sum",
        ignore: int | None = None,
        label_names: Sequence[str] | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.classes = whole(self.owner, "classes", classes, 2)
        self.take_head_options(shape, upsampling, decoder, merge)
        free = ignore is None or (is_whole(ignore) and not 0 <= ignore < self.classes)
        require(free, self.owner, "ignore", f"must be a whole number outside of 0..{self.classes - 1}", ignore)
        self.ignore = ignore
        self.label_names = checked_names(self, label_names, self.classes)
        self.class_weight = checked_class_weight(self, class_weight, self.classes)

    @property
    def loss_shape(self) -> tuple[int | None, ...]:
        """The loss takes the index of each pixel's class."""
        return self.label_shape

    @property
    def units(self) -> int:
        """Channels of the output: one probability a class."""
        return self.classes

    @property
    def final_activation(self) -> str:
        """An output is a probability a class, whatever the head has in front."""
        return "softmax"

    @property
    def default_loss(self) -> str:
        """Sparse categorical cross-entropy."""
        return "sparse_categorical_crossentropy"

    def present(self, labels: Any) -> Any:
        """Tells which pixels have a label."""
        there = super().present(labels)
        return there if self.ignore is None else there & (labels != self.ignore)

    def output(self, features: Any) -> Any:
        """Builds the classes' logits, enlarges them, and turns them into probabilities."""
        logits = self.pointwise(self.classes, f"{self.name}_logits", dtype="float32")(features)
        return keras.layers.Softmax(dtype="float32", name=self.name)(self.in_label_size(logits))

    def own_metric(self, name: str) -> Any:
        """Mean intersection over union of the classes, besides the share of pixels that are right."""
        if name == "mean_iou":
            # In Keras's own choice, int, sample weights would be cut to whole numbers.
            return keras.metrics.MeanIoU(self.classes, sparse_y_pred=False, dtype="float32", name=name)
        return super().own_metric(name)

    def class_probabilities(self, outputs: Any) -> Any:
        """The outputs, `(batch, height, width, classes)`."""
        return outputs

    def decide(self, outputs: Any) -> Any:
        """The likeliest class of each pixel, `(batch, height, width)`."""
        return likeliest(outputs)

    def read(self, outputs: Any) -> dict[str, Any]:
        """The number of each pixel's likeliest class and its probability, `(batch, height, width)` each."""
        return {"label": self.decide(outputs), "probability": ops.max(outputs, axis=-1)}

    def describe(self, label: Any, output: Any) -> str:
        """The share of labelled pixels that are right: `mask 93 % of pixels`."""
        here = None if label is None else np.asarray(self.present(np.asarray(label)))
        if here is None or not here.any():
            return f"{self.name} ?"
        right = np.argmax(output, axis=-1) == np.asarray(label)
        return f"{self.name} {100 * right[here].mean():.0f} % of pixels"

    def draw(self, axis: Any, label: Any, output: Any) -> None:
        """Lays the decided classes over the picture, and outlines those of the label."""
        decided = np.argmax(output, axis=-1)
        height, width = decided.shape
        left, right, bottom, top = axis.images[-1].get_extent() if axis.images else (0, width, height, 0)
        colors = {"cmap": "tab10", "vmin": 0, "vmax": max(self.classes - 1, 9)}
        axis.imshow(decided, alpha=0.4, interpolation="nearest", extent=(left, right, bottom, top), **colors)
        if label is None:
            return
        columns = left + (np.arange(width) + 0.5) * (right - left) / width
        rows = top + (np.arange(height) + 0.5) * (bottom - top) / height
        truth = np.asarray(label)
        shown = np.where(self.present(truth), truth, -1)
        for number in np.unique(shown[shown >= 0]):
            if min(shown.shape) > 1 and (shown != number).any():
                axis.contour(columns, rows, shown == number, levels=[0.5], colors=[f"C{number % 10}"], linewidths=1)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"classes": self.classes, **self.head_options(), "ignore": self.ignore}
        names = {"label_names": self.label_names, "class_weight": self.class_weight}
        return {**super().get_config(), **own, **names}
