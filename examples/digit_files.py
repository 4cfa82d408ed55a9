"""Writes digits as PNG files and a table of their labels, of which half of the cells are empty.

    python examples/digit_files.py --out photos    # photos/labels.csv: file, digit, angle (deg), row (px)

What people have who label pictures by hand: `examples/labels_from_csv.py` starts from it.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd
import tensorflow as tf

import kmtl


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few files")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("photos"), help="folder of files and table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    splits = ("train[:120]", "validation[:1]", "test[:1]") if options.smoke else None
    generator, rows = np.random.default_rng(0), []
    for images, labels in kmtl.data.load("digit_poses", splits=splits)[0]:
        known = {"digit": labels["digit"], "angle": labels["angle"], "row": labels["position"][:, 1]}
        cells = zip(*(values.numpy() for values in known.values()), strict=True)
        for image, row in zip(images, cells, strict=True):
            name = f"{len(rows):04}.png"
            (options.out / name).write_bytes(tf.io.encode_png(tf.cast(image * 255, "uint8")).numpy())
            there = generator.random(len(known)) < 0.5
            kept = zip(known, row, there, strict=True)
            rows.append({"file": name, **{task: round(float(value), 2) if one else None for task, value, one in kept}})
    pd.DataFrame(rows).to_csv(options.out / "labels.csv", index=False)
    print(f"{len(rows)} rows in {options.out / 'labels.csv'}")


if __name__ == "__main__":
    main()
