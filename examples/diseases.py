"""Several diseases in one model, where no patient was tested for all of them.

Simulated patients: a few hidden causes move twelve measurements and six diseases, and a test is ordered for one patient
in eight, more often where measurements are high. A test that was not made is -1, and counts nowhere. The table holds
that against one model a disease, and against taking *not tested* for *healthy*.

python examples/diseases.py            # two minutes on two cores
python examples/diseases.py --smoke    # seconds; the numbers mean nothing
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
import numpy as np

import kmtl

DISEASES = ["anaemia", "asthma", "diabetes", "gout", "hepatitis", "nephritis"]


def patients(number, seed):
    """Measurements, the diseases with -1 where no test was made, and the truth."""
    world, generator = np.random.default_rng(0), np.random.default_rng(seed)
    to_measurements, to_diseases = world.normal(size=(4, 12)), world.normal(size=(4, 6))
    causes = generator.normal(size=(number, 4))
    x = np.tanh(causes @ to_measurements) + 0.5 * generator.normal(size=(number, 12))
    sick = (np.tanh(causes) @ to_diseases + 0.5 * generator.normal(size=(number, 6)) > 1.5).astype("int32")
    ordered = 1 / (1 + np.exp(-x.mean(axis=1, keepdims=True)))
    tested = generator.random((number, 6)) < ordered / 4
    by_name = [dict(zip(DISEASES, labels.T, strict=True)) for labels in (np.where(tested, sick, -1), sick)]
    return x.astype("float32"), *by_name


def build(names):
    """One head a disease on two shared layers."""
    row = keras.Input((12,), name="measurements")
    features = keras.layers.Dense(64, activation="relu")(keras.layers.Dense(64, activation="relu")(row))
    features = keras.layers.Dropout(0.3)(features)
    tasks = [kmtl.BinaryClassification(name, metrics=[keras.metrics.AUC(name="auc")]) for name in names]
    model = kmtl.MultiTaskModel.from_features(row, features, tasks)
    model.compile(keras.optimizers.Adam(2e-3))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few patients, to see that everything runs")
    smoke = parser.parse_args().smoke
    x, y, _ = patients(400 if smoke else 6000, seed=1)
    new, _, truth = patients(400 if smoke else 10_000, seed=2)
    names = DISEASES[:2] if smoke else DISEASES
    ways = {
        "one model": [(names, {name: y[name] for name in names})],
        "one a disease": [([name], {name: y[name]}) for name in names],
        "one, -1 as healthy": [(names, {name: np.maximum(y[name], 0) for name in names})],
    }
    print(f"{len(x):,} patients; tested for {', '.join(f'{name} {(y[name] >= 0).mean():.0%}' for name in names)}")
    print(f"\non {len(new):,} new patients whose diseases are known: AUC (mean prediction)")
    print(f"{'':20}" + "".join(f"{name:>16}" for name in names))
    print(f"{'share that is sick':20}" + "".join(f"{f'({truth[name].mean():.2f})':>16}" for name in names))
    for way, trainings in ways.items():
        cells = []
        for part, labels in trainings:
            keras.utils.set_random_seed(0)
            model = build(part)
            model.fit(x, labels, epochs=1 if smoke else 15, verbose=0)
            outputs = model.predict(new, batch_size=1024, verbose=0)
            logs = model.evaluate(new, {name: truth[name] for name in part}, verbose=0, return_dict=True)
            cells += [f"{logs[f'{name}_auc']:.3f} ({outputs[name].mean():.2f})" for name in part]
        print(f"{way:20}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
