"""The Keras side of the balancer benchmark: stock `fit`, the floor by hand, `MultiTaskModel.fit` under a balancer."""

import keras
import tensorflow as tf
from balancer_shapes import CLASSES, SHAPES, STAGES, arrays, task_names
from keras import layers

import kmtl


def start(threads):
    """One-time settings of the process."""
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.get_logger().setLevel("ERROR")
    tiny = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    tiny.compile("adam", loss="mse")
    tiny.fit(tf.zeros((2, 1)), tf.zeros((2, 1)), verbose=0)


def ready(row):
    """Imports what a row needs: nothing more."""


def facts():
    """Versions, and the methods there are."""
    made = {name: kmtl.balancers.get(name) for name in kmtl.balancers.names()}
    methods = {name: {"needs": one.needs, "online": getattr(one, "has_online", False)} for name, one in made.items()}
    return {"versions": {"TensorFlow": tf.__version__, "Keras": keras.__version__}, "methods": methods}


# The models.


def _lenet(image):
    x = layers.Conv2D(16, 5, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(32, 5, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    return layers.Dense(64, activation="relu")(layers.Flatten()(x))


def _normalised(x, channels, size, stride):
    x = layers.Conv2D(channels, size, strides=stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def _block(x, channels, stride):
    straight = stride == 1 and x.shape[-1] == channels
    shortcut = x if straight else _normalised(x, channels, 1, stride)
    inner = layers.ReLU()(_normalised(x, channels, 3, stride))
    return layers.ReLU()(layers.Add()([_normalised(inner, channels, 3, 1), shortcut]))


def _resnet(image):
    x = layers.ReLU()(_normalised(image, STAGES[0][0], 3, 2))
    for channels, stride in STAGES:
        x = _block(_block(x, channels, stride), channels, 1)
    return layers.GlobalAveragePooling2D()(x)


def trunk(model):
    """Input and features."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPES[model], name="image")
    return image, {"lenet": _lenet, "resnet": _resnet}[model](image)


# What trains them.


class Fitted:
    """A compiled model whose step is `fit`."""

    def __init__(self, model, images, labels):
        self.model = model
        dataset = tf.data.Dataset.from_tensor_slices((images, labels)).cache().repeat()
        self.data, self.epochs = dataset, {}

    def run(self, steps):
        """One epoch of so many steps."""
        # The same dataset again, so that the look that `MultiTaskModel.fit` takes at new data is taken once.
        epoch = self.epochs.setdefault(steps, self.data.take(steps))
        self.model.fit(epoch, verbose=0, shuffle=False)


class Floor:
    """Forward, every task's cotangent of the features at once, one trunk backward a task, one update.

    What every exact method must do, and nothing else: no Gramian, no solver, no logs.
    """

    def __init__(self, model, count):
        image, features = trunk(model)
        self.trunk = keras.Model(image, features)
        self.head = layers.Dense(count * CLASSES)
        self.head.build(features.shape)
        self.variables = [*self.trunk.trainable_variables, *self.head.trainable_variables]
        self.optimizer = keras.optimizers.Adam(1e-3)
        self.optimizer.build(self.variables)
        self.weights = tf.Variable(tf.ones((count,)))
        images, labels = arrays(model, count)
        self.data, self.count = tf.data.Dataset.from_tensor_slices((images, labels)).cache().repeat(), count
        self.step = tf.function(self._step)

    def run(self, steps):
        """So many steps."""
        for images, labels in self.data.take(steps):
            self.step(images, labels)

    def _step(self, images, labels):
        with tf.GradientTape(persistent=True) as tape:
            features = self.trunk(images, training=True)
        cotangents, head = self._heads(features, labels)
        shared = [variable.value for variable in self.trunk.trainable_variables]
        rows = [tape.gradient(features, shared, output_gradients=one) for one in tf.unstack(cotangents)]
        weights = tf.unstack(self.weights)
        pairs = zip(*rows, strict=True)
        updates = [tf.add_n([w * one for w, one in zip(weights, column, strict=True)]) for column in pairs]
        self.optimizer.apply([*updates, *head], self.variables)

    def _heads(self, features, labels):
        """Gradients of each task's mean loss to the features, `(K, batch, width)`, and of the heads."""
        kernel, bias = self.head.kernel.value, self.head.bias.value
        logits = tf.reshape(features @ kernel + bias, (-1, self.count, CLASSES))
        wrong = (tf.nn.softmax(logits) - tf.one_hot(labels, CLASSES)) / tf.cast(tf.shape(labels)[0], tf.float32)
        by_task = tf.transpose(tf.reshape(kernel, (-1, self.count, CLASSES)), (1, 2, 0))
        cotangents = tf.matmul(tf.transpose(wrong, (1, 0, 2)), by_task)
        flat = tf.reshape(wrong, (-1, self.count * CLASSES))
        return cotangents, [tf.matmul(features, flat, transpose_a=True), tf.reduce_sum(flat, axis=0)]


def _tasks(count):
    return [kmtl.Classification(name, classes=CLASSES) for name in task_names(count)]


def _fitted(built, model, count):
    images, labels = arrays(model, count)
    return Fitted(built, images, {name: labels[..., place] for place, name in enumerate(task_names(count))})


def _plain(model, count, fuse):
    """Stock Keras on the network that `from_features` makes."""
    image, features = trunk(model)
    tasks = _tasks(count)
    built = keras.Model(image, kmtl.tasks.build_heads(features, tasks, fuse=fuse))
    built.compile(keras.optimizers.Adam(1e-3), loss={task.name: task.default_loss for task in tasks})
    return _fitted(built, model, count)


def _balanced(model, count, balancer, fuse):
    image, features = trunk(model)
    built = kmtl.MultiTaskModel.from_features(image, features, _tasks(count), fuse=fuse)
    nothing = {name: [] for name in task_names(count)}
    built.compile(keras.optimizers.Adam(1e-3), metrics=nothing, balancer=balancer)
    return _fitted(built, model, count)


def build(model, count, row):
    """Makes what a row of the table trains: an object with `run(steps)`."""
    fuse = "auto" if row.get("fuse", True) else False
    if row["name"] == "plain":
        return _plain(model, count, fuse)
    if row["name"] == "floor":
        return Floor(model, count)
    balancer = type(kmtl.balancers.get(row["name"]))(**row["options"])
    return _balanced(model, count, balancer, fuse)
