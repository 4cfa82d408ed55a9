"""The gradient of max-pooling: TensorFlow's own, or a mask over the windows seen as axes; oneDNN off and on.

    python benchmarks/max_pooling.py --write

kmtl's trunks pool by `keras.layers.MaxPooling2D`. A mask, `input == maximum`, needs no search for the place of the
maximum; a tie sends the gradient to each of its places, or shares it among them. CPU time, one thread, of forward and
backward pass; a fresh process a setting of oneDNN, which is read when TensorFlow is imported.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

RESULTS = pathlib.Path(__file__).parent / "results" / "max_pooling.md"
# Batch, height, width, channels of the map that is halved.
SHAPES = [(64, 32, 32, 16), (64, 16, 16, 64), (256, 28, 28, 32), (64, 64, 64, 32)]


def poolings():
    """Each way to halve a map, by name."""
    import tensorflow as tf

    def pool(value):
        return tf.nn.max_pool2d(value, 2, 2, "VALID")

    def masked(shared):
        @tf.custom_gradient
        def pooled(value):
            maximum = pool(value)

            def gradient(upstream):
                batch, height, width, channels = tf.unstack(tf.shape(value))
                windows = tf.reshape(value, [batch, height // 2, 2, width // 2, 2, channels])
                hit = tf.equal(windows, maximum[:, :, None, :, None, :])
                if shared:
                    count = tf.reduce_sum(tf.cast(hit, value.dtype), [2, 4])
                    upstream = upstream / count
                return tf.reshape(tf.where(hit, upstream[:, :, None, :, None, :], 0.0), tf.shape(value))

            return maximum, gradient

        return pooled

    return {"max_pool2d": pool, "mask, all of a tie": masked(False), "mask, a tie shares": masked(True)}


def worker(rounds):
    """Milliseconds of each way by shape, least of the rounds, in which the ways take turns."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def stepped(pool):
        @tf.function
        def step(value):
            with tf.GradientTape() as tape:
                tape.watch(value)
                loss = tf.reduce_sum(tf.square(pool(value)))
            return tape.gradient(loss, value)

        return step

    found = []
    for shape in SHAPES:
        value = tf.nn.relu(tf.random.normal(shape, seed=0))
        steps = {name: stepped(pool) for name, pool in poolings().items()}
        least = dict.fromkeys(steps, float("inf"))
        for turn in range(rounds + 1):
            for name, step in steps.items():
                begun = time.process_time()
                for _ in range(5):
                    step(value)
                if turn:  # the first traces
                    least[name] = min(least[name], 1000 * (time.process_time() - begun) / 5)
        found.append(least)
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    parser.add_argument("--worker", action="store_true")
    options = parser.parse_args()
    if options.worker:
        worker(options.rounds)
        return
    from timing import header

    note = "Milliseconds of CPU, forward and backward; in brackets the ratio to `max_pool2d` of the same row."
    lines = header("The gradient of max-pooling", f"python benchmarks/max_pooling.py {' '.join(sys.argv[1:])}", note)
    for setting, name in (("1", "on"), ("0", "off")):
        command = [sys.executable, __file__, "--worker", "--rounds", str(options.rounds)]
        printed = subprocess.check_output(command, text=True, env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": setting})
        found = json.loads(printed.splitlines()[-1])
        lines += [f"oneDNN {name}:", "", f"| map | {' | '.join(found[0])} |", "|---" * (1 + len(found[0])) + "|"]
        for shape, row in zip(SHAPES, found, strict=True):
            cells = [f"{value:.2f} ({value / row['max_pool2d']:.2f})" for value in row.values()]
            lines.append(f"| {' x '.join(map(str, shape))} | {' | '.join(cells)} |")
        lines.append("")
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
