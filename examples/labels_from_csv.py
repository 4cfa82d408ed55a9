"""A table of pictures and three half-filled label columns becomes a recommendation, a report and a SavedModel.

python examples/digit_files.py --out photos              # writes such a table; an empty cell is a missing label
python examples/labels_from_csv.py photos/labels.csv     # --smoke: one epoch, to see that it runs
"""

import argparse
import pathlib

import keras
import pandas as pd

import kmtl

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("csv", type=pathlib.Path, help="columns: file (beside the table), digit, angle, row")
parser.add_argument("--smoke", action="store_true", help="one epoch, to see that it runs")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models"), help="where results go")
options = parser.parse_args()
tasks = [kmtl.Classification("digit", 10), kmtl.Regression("angle", unit="deg"), kmtl.Regression("row", unit="px")]


def build(tasks):
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(16, 32, 64), units=64)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(keras.optimizers.Adam(3e-3))
    return model


parts = kmtl.data.split(pd.read_csv(options.csv), (0.7, 0.15, 0.15), stratify=tasks)
train, validation, test = (
    kmtl.data.from_folder(options.csv.parent, part, tasks, image_size=32, channels=1, shuffle=part is parts[0])
    for part in parts
)
found = kmtl.evidence.recommend(build, tasks, train, validation, test=test, epochs=1 if options.smoke else 10)
print(found)
print(kmtl.evidence.report(found, model=found.model, data=test).save(options.out / "report.html"))
print(kmtl.export.saved_model(found.model, options.out / "digits"))
