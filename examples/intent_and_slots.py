"""What a sentence wants, and which of its words say what: one text trunk with a class a sentence and a tag a word.

Text in, names out: words and vocabulary are inside the saved model, which TensorFlow alone serves. Without `--data` the
sentences are made up from a few patterns, which any model learns. With the SNIPS set of voice assistants (14,484
sentences, 7 intents, 72 tags; a CSV with columns split, text, slots, intent) the numbers mean something:
`benchmarks/snips.py` holds the joint model against one a task there.

python examples/intent_and_slots.py --data snips.csv.gz    # five minutes on two cores
python examples/intent_and_slots.py --smoke                # seconds; the numbers mean nothing
"""

import argparse
import csv
import gzip
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
import numpy as np
import tensorflow as tf

import kmtl

# Made-up sentences: a word in capitals is a slot, filled by one of these.
PATTERNS = {
    "PlayMusic": ["play ARTIST", "play something by ARTIST please", "i want to hear ARTIST"],
    "GetWeather": ["weather in CITY", "will it rain in CITY tomorrow", "is it cold in CITY"],
}
FILLERS = {"ARTIST": ["queen", "the red foxes", "blue moon band"], "CITY": ["paris", "new oslo", "port green bay"]}


def made_up(number, seed):
    """Sentences as the set has them: a dict of text, slots and intent each."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(number):
        intent = str(generator.choice(list(PATTERNS)))
        words, tags = [], []
        for word in str(generator.choice(PATTERNS[intent])).split():
            filled = str(generator.choice(FILLERS[word])).split() if word in FILLERS else [word]
            slot = word.lower() if word in FILLERS else ""
            words += filled
            tags += [f"{'I' if place else 'B'}-{slot}" if slot else "O" for place in range(len(filled))]
        rows.append({"text": " ".join(words), "slots": " ".join(tags), "intent": intent})
    return rows


def splits(path):
    """Training, validation and test rows."""
    if path is None:
        return [made_up(number, seed) for seed, number in enumerate((600, 100, 100))]
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [[row for row in rows if row["split"] == split] for split in ("train", "valid", "test")]


def batches(rows, tasks, size):
    """Sentences and their labels."""
    intent, slots = tasks
    labels = {
        "intent": np.array([intent.label_names.index(row["intent"]) for row in rows]),
        "slots": slots.labels([row["slots"].split() for row in rows]),
    }
    return tf.data.Dataset.from_tensor_slices((tf.constant([row["text"] for row in rows]), labels)).batch(size)


def build(tasks, vocabulary, tokens):
    """The words' sequence for the tags, its mean for the intent."""
    text = keras.Input((), dtype="string", name="text")
    sequence = kmtl.trunks.text(
        text, vocabulary, tokens=tokens, width=96, kernel_size=5, dropout=0.3, affixes=True, pooling=None
    )
    features = {"sequence": sequence, "vector": kmtl.trunks.pool(sequence, units=None)}
    model = kmtl.MultiTaskModel.from_features(text, features, tasks)
    model.compile(keras.optimizers.Adam(2e-3))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, help="snips.csv.gz; without it sentences are made up")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--smoke", action="store_true", help="few sentences and steps, to see that everything runs")
    given = parser.parse_args()
    keras.utils.set_random_seed(0)
    train, validation, test = splits(given.data)
    if given.smoke:
        train, validation, test = train[:200], validation[:20], test[:20]
    rows = [*train, *validation, *test]
    tokens = int(kmtl.trunks.word_counts([row["text"] for row in rows]).max())
    intents = sorted({row["intent"] for row in rows})
    tags = sorted({tag for row in rows for tag in row["slots"].split()})
    tasks = [
        kmtl.Classification("intent", len(intents), label_names=intents),
        kmtl.Tagging("slots", tags, tokens=tokens),
    ]
    model = build(tasks, kmtl.trunks.vocabulary([row["text"] for row in train]), tokens)
    data = batches(train, tasks, 20 if given.smoke else 64).shuffle(1000)
    model.fit(data, validation_data=batches(validation, tasks, 100), epochs=given.epochs, verbose=2)
    logs = model.evaluate(batches(test, tasks, 100), verbose=0, return_dict=True)
    print(f"on {len(test)} test sentences: intent {logs['intent_accuracy']:.4f}, slots F1 {logs['slots_span_f1']:.4f}")

    served = tf.saved_model.load(str(kmtl.export.saved_model(model, given.out / "intent_and_slots", decode=True)))
    for row in test[:3]:
        found = served.signatures["decoded"](text=tf.constant([row["text"]]))
        words = row["text"].split()
        spans = tasks[1].spans(found["slots_label"][0].numpy()[: len(words)])
        told = ", ".join(f"{span.type}={' '.join(words[span.start : span.stop])!r}" for span in spans)
        print(f"{row['text']!r}: {found['intent_label'][0].numpy().decode()}({told})")


if __name__ == "__main__":
    main()
