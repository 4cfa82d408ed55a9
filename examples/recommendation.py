"""Two kinds of recommendation of one item: for the visitor, and as a part of the bundle in the basket.

Simulated visits with a history of items, searched words (half of the visitors search nothing), tags and attributes of
the item, and base features of the visitor. Two towers read one hidden layer, one kernel reads both towers, and the mean
of the two outputs ranks what is shown. A loss on that mean alone cannot tell the towers apart: the table shows it by
Pearson's correlation of the two outputs, from moments over all rows.

python examples/recommendation.py            # a minute on two cores
python examples/recommendation.py --smoke    # seconds; the numbers mean nothing
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
import numpy as np

import kmtl
from kmtl.sharing import AveragedHeads, ConceptExpansion, present_rows

TASKS = ["personal", "bundle", "shown"]
LENGTHS, WIDTHS = {"history": 6, "search": 4, "tags": 3}, {"attributes": 2, "base": 2}
ABOUT = np.random.default_rng(0).normal(size=(60, 2))  # what each of 60 items, words and tags is about
ABOUT[0] = 0.0  # nothing


def visits(number, seed):
    """Inputs; labels; and the two probabilities that nobody sees."""
    generator = np.random.default_rng(seed)
    taste, basket = generator.normal(size=(2, number, 2))
    x = {name: generator.integers(1, 60, (number, length)) for name, length in LENGTHS.items()}
    x["search"] *= generator.random((number, 1)) < 0.5
    x["history"] = np.argsort(-basket @ ABOUT[1:].T - generator.gumbel(size=(number, 59)), axis=1)[:, :6] + 1
    x["attributes"] = generator.normal(size=(number, 2)).astype("float32")
    x["base"] = (taste + 0.3 * generator.normal(size=(number, 2))).astype("float32")
    item, wanted = ABOUT[x["tags"]].mean(1), taste + ABOUT[x["search"]].mean(1)
    fits = [(item * one).sum(1) - x["attributes"][:, place] for place, one in enumerate((wanted, basket))]
    chances = [1 / (1 + np.exp(-1.5 * fit)) for fit in fits]
    personal, bundle = (generator.random(number) < chance for chance in chances)
    shown = np.where(generator.random(number) < 0.5, personal, bundle)  # in one of two places, by a coin
    return x, dict(zip(TASKS, np.int32([personal, bundle, shown]), strict=True)), [*chances, sum(chances) / 2]


def moment(one, other):
    """Makes the product of powers of the two outputs, of which `fit` and `evaluate` log the mean over all rows."""

    def product(_, outputs):
        return outputs["personal"][:, 0] ** one * outputs["bundle"][:, 0] ** other

    product.__name__ = f"moment_{one}{other}"
    return keras.saving.register_keras_serializable("recommendation")(product)


MOMENTS = [moment(*powers) for powers in ((1, 0), (0, 1), (2, 0), (0, 2), (1, 1))]


def pearson(logs):
    """Pearson's correlation of the two outputs, from their moments."""
    one, other, square, other_square, product = (logs[each.__name__] for each in MOMENTS)
    return (product - one * other) / np.sqrt((square - one**2) * (other_square - other**2))


def build(loss_weights):
    """Embeddings, one hidden layer in which an input may be missing, two towers, one kernel, and the mean."""
    inputs = {name: keras.Input((length,), name=name, dtype="int32") for name, length in LENGTHS.items()}
    read = {name: keras.layers.Flatten()(keras.layers.Embedding(60, 4)(given)) for name, given in inputs.items()}
    for name, width in WIDTHS.items():
        inputs[name] = read[name] = keras.Input((width,), name=name)
    concepts = ConceptExpansion(64)(read, present={name: present_rows(given) for name, given in inputs.items()})
    towers = {name: keras.layers.Dense(64, activation="relu")(concepts) for name in TASKS[:2]}
    towers = {name: keras.layers.Dense(32, activation="relu")(tower) for name, tower in towers.items()}
    tasks = [kmtl.BinaryClassification(name) for name in TASKS]
    model = kmtl.MultiTaskModel(inputs, AveragedHeads.from_tasks(tasks, mean="shown")(towers), tasks=tasks)
    metrics = [kmtl.JointMetric(each.__name__, each, TASKS[:2], needs_labels=False) for each in MOMENTS]
    model.compile(keras.optimizers.Adam(2e-3), loss_weights=loss_weights, joint_metrics=metrics)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few visits, to see that everything runs")
    smoke = parser.parse_args().smoke
    x, y, _ = visits(300 if smoke else 20_000, seed=1)
    new, labels, truth = visits(300 if smoke else 10_000, seed=2)
    print(f"on {len(new['base']):,} new visits: cross-entropy of each task, correlation of the two outputs")
    print(f"{'':20}" + "".join(f"{name:>10}" for name in [*TASKS, "Pearson"]))
    right = [np.where(labels[name], chance, 1 - chance) for name, chance in zip(TASKS, truth, strict=True)]
    rows = {"true probabilities": [*(-np.log(chance).mean() for chance in right), np.corrcoef(*truth[:2])[0, 1]]}
    for way, loss_weights in {"each supervised": {}, "the mean alone": {"personal": 0.0, "bundle": 0.0}}.items():
        keras.utils.set_random_seed(0)
        model = build(loss_weights)
        model.fit(x, y, epochs=1 if smoke else 6, batch_size=64, verbose=0)
        logs = model.evaluate(new, labels, verbose=0, return_dict=True)
        rows[way] = [*(logs[f"{name}_loss"] for name in TASKS), pearson(logs)]
    for way, cells in rows.items():
        print(f"{way:20}" + "".join(f"{cell:10.3f}" for cell in cells))


if __name__ == "__main__":
    main()
