"""Clicks and purchases: how likely is a purchase after a click, over all that is shown and not the clicked part alone?

A simulated shop: visitors click on what fits their taste, and buy what is cheap for them. A model of purchases that
learns from the clicks is asked about every impression when it serves. ESMM (Ma et al., SIGIR 2018) learns from every
impression by the product P(click and purchase) = P(click) P(purchase | click).

python examples/click_and_purchase.py            # two minutes on two cores
python examples/click_and_purchase.py --smoke    # seconds; the numbers mean nothing
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
import numpy as np

import kmtl


def shop(number, seed):
    """Impressions: what is known of each, what happened, and the probabilities that nobody sees."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(number, 8)).astype("float32")
    fit, price = x[:, 0] + x[:, 1] * x[:, 2], x[:, 3] - 0.5 * x[:, 4] ** 2
    click, purchase = (1 / (1 + np.exp(-value)) for value in (1.2 * fit - 2.5, 1.5 * price + fit - 1))
    clicked = generator.random(number) < click
    bought = clicked & (generator.random(number) < purchase)
    labels = {"click": clicked, "purchase": bought, "purchase_after_click": bought}
    return x, {name: label.astype("int32") for name, label in labels.items()}, {"click": click, "purchase": purchase}


def build(tasks, loss_weights):
    """A small network with one head a task."""
    row = keras.Input((8,), name="impression")
    features = keras.layers.Dense(64, activation="relu")(keras.layers.Dense(64, activation="relu")(row))
    model = kmtl.MultiTaskModel.from_features(row, features, tasks)
    model.compile(keras.optimizers.Adam(2e-3), loss_weights=loss_weights)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few impressions, to see that everything runs")
    smoke = parser.parse_args().smoke
    x, y, _ = shop(500 if smoke else 20_000, seed=0)
    shown, _, truth = shop(500 if smoke else 50_000, seed=1)
    true = truth["purchase"]
    print(f"{len(x):,} impressions, {y['click'].sum():,} clicks, {y['purchase'].sum():,} purchases")
    after_click = kmtl.BinaryClassification("purchase_after_click", where={"click": 1})
    both = kmtl.BinaryClassification("purchase", product_of=("click", "purchase_after_click"))
    ways = {
        "from clicks only": ([kmtl.BinaryClassification("click"), after_click], {"click": 0.0}),
        "ESMM": ([kmtl.BinaryClassification("click"), after_click, both], {"purchase_after_click": 0.0}),
        "ESMM, and clicks": ([kmtl.BinaryClassification("click"), after_click, both], {}),
    }
    print(
        f"\nP(purchase | click) over {len(shown):,} new impressions, true mean {true.mean():.4f}; mean ± sd over seeds"
    )
    print(f"{'':18}{'bias of the mean':>20}{'mean absolute error':>22}{'where clicked':>18}")
    for way, (tasks, loss_weights) in ways.items():
        rows = []
        for seed in range(1 if smoke else 3):
            keras.utils.set_random_seed(seed)
            model = build(tasks, loss_weights)
            labels = {task.name: y[task.name] for task in tasks}
            model.fit(x, labels, epochs=1 if smoke else 8, batch_size=128, verbose=0)
            off = model.predict(shown, batch_size=1024, verbose=0)["purchase_after_click"][:, 0] - true
            rows.append((off.mean(), np.abs(off).mean(), np.average(np.abs(off), weights=truth["click"])))
        forms = zip(("+.4f", ".4f", ".4f"), np.mean(rows, 0), np.std(rows, 0), strict=True)
        cells = [f"{mean:{form}} ± {sd:.4f}" for form, mean, sd in forms]
        print(f"{way:18}{cells[0]:>20}{cells[1]:>22}{cells[2]:>18}")


if __name__ == "__main__":
    main()
