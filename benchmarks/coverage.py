"""How often intervals hold the truth on people that nobody trained on, and how sure classes are, before and after.

    python benchmarks/coverage.py --data FOLDER --write

`FOLDER/census_income.csv.gz` is the test file of Census-Income (KDD) with a column `split`. One model per seed learns
age, once as quantiles and once as a mean and a deviation, income and education, from few people for many epochs, so
that it is too sure. `kmtl.evidence.calibrate` sees the validation people; the test people are seen by neither.
"""

import argparse
import pathlib

import keras
import numpy as np
import pandas as pd
from timing import header

import kmtl

RESULTS = pathlib.Path(__file__).parent / "results" / "coverage.md"
TARGETS = ["age", "income_50k", "education"]
ROWS, EPOCHS, BATCH = 6000, 30, 128
TASKS = [
    kmtl.QuantileRegression("age_quantiles", (0.05, 0.25, 0.5, 0.75, 0.95), unit="years"),
    kmtl.HeteroscedasticRegression("age_normal", beta=0.5, unit="years"),
    kmtl.BinaryClassification("income"),
    kmtl.Classification("education", 17),
]


def census(folder):
    """Arrays of the people of each split: all columns but the targets, text one-hot and numbers standardised."""
    frame = pd.read_csv(pathlib.Path(folder) / "census_income.csv.gz")
    inputs = frame.drop(columns=[*TARGETS, "split", "instance_weight"])
    numbers = inputs.select_dtypes("number")
    numbers = (numbers - numbers.mean()) / numbers.std()
    x = np.hstack([numbers, pd.get_dummies(inputs.select_dtypes(exclude="number"))]).astype("float32")
    age = frame["age"].to_numpy("float32")
    y = {
        "age_quantiles": age,
        "age_normal": age,
        "income": frame["income_50k"].str.contains("50000+", regex=False).to_numpy("int32"),
        "education": frame["education"].astype("category").cat.codes.to_numpy("int32"),
    }
    parts = [np.flatnonzero(frame["split"] == name) for name in ("train", "valid", "test")]
    return [(x[rows], {name: values[rows] for name, values in y.items()}) for rows in parts]


def trained(train, seed):
    """A model that has seen few people too often."""
    keras.utils.set_random_seed(seed)
    x, y = train
    rows = np.random.default_rng(seed).permutation(len(x))[:ROWS]
    row = keras.Input(x.shape[1:], name="row")
    hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Dense(128, activation="relu")(row))
    model = kmtl.MultiTaskModel.from_features(row, hidden, TASKS)
    model.compile(keras.optimizers.Adam(1e-3))
    model.fit(x[rows], {name: values[rows] for name, values in y.items()}, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return model


def measured(model, test):
    """Coverage and width of the interval of 90 % on the test people, and calibration errors."""
    outputs, found = model.predict(test[0], batch_size=4096, verbose=0), {}
    for name in ("age_quantiles", "age_normal"):
        low, high = model.tasks[name].intervals(outputs[name])[0.9]
        truth = test[1][name][:, None]
        found[name] = ((low <= truth) & (truth <= high)).mean(), (high - low).mean()
    for name in ("income", "education"):
        probabilities = np.asarray(model.tasks[name].class_probabilities(outputs[name]), "float64")
        fits = kmtl.evidence.trust.calibration_fits
        found[name] = (
            fits.calibration_error(test[1][name], probabilities),
            fits.log_loss(test[1][name], probabilities),
        )
    return found


def conformal(model, validation, test):
    """The same of conformal intervals of the model as it came out of training."""
    names = ["age_quantiles", "age_normal"]
    safe = kmtl.evidence.conformal(model, *validation, alpha=0.1, tasks=names)
    return {row["task"]: (row["covered"], row["size"]) for row in safe.coverage(*test).rows}


def run(parts, seeds):
    """A row a seed: before, after calibration, and by conformal prediction."""
    train, validation, test = parts
    rows = []
    for seed in seeds:
        model = trained(train, seed)
        before, safe = measured(model, test), conformal(model, validation, test)
        kmtl.evidence.calibrate(model, *validation)
        rows.append((before, measured(model, test), safe))
    return rows


def cell(rows, place, task, number, form):
    """Mean over the seeds, and the values of each."""
    values = [row[place][task][number] for row in rows]
    return f"{np.mean(values):{form}} ({', '.join(f'{value:{form}}' for value in values)})"


def table(rows):
    """Two tables in Markdown."""
    lines = ["| age in years | 90 % intervals hold, % | mean width |", "|---|---|---|"]
    for task, what in (("age_quantiles", "quantiles 0.05 and 0.95"), ("age_normal", "mean and 1.645 deviations")):
        for place, how in enumerate(("as trained", "after `calibrate`", "by `conformal`")):
            shares = [tuple((100 * row[place][task][0], row[place][task][1]) for row in rows)]
            held = f"{np.mean([one[0] for one in shares[0]]):.1f} ({', '.join(f'{one[0]:.1f}' for one in shares[0])})"
            lines.append(f"| {what}, {how} | {held} | {cell(rows, place, task, 1, '.1f')} |")
    lines += [
        "",
        "| classes | calibration error as trained | after | log loss as trained | after |",
        "|---|---|---|---|---|",
    ]
    for task in ("income", "education"):
        cells = [cell(rows, place, task, number, ".3f") for number in (0, 1) for place in (0, 1)]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return lines


def main():
    """Runs the seeds and prints or writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the folder of census_income.csv.gz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    note = (
        f"Census-Income (KDD), the test file; {ROWS} people trained on for {EPOCHS} epochs, {{1}} people calibrated on,"
        f" {{2}} tested. Means over {given.seeds} seeds, each in brackets; one standard error of a share of so many is"
        " 0.2 %. Targets are no inputs. Calibration error: 15 bins of equal width."
    )
    parts = census(given.data)
    command = "python benchmarks/coverage.py --data FOLDER --write"
    note = note.format(*(f"{len(x):,}" for x, _ in parts))
    head = header("Intervals that hold, and probabilities that mean what they say", command, note)
    text = "\n".join([*head, *table(run(parts, range(given.seeds)))]) + "\n"
    print(text)
    if given.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
