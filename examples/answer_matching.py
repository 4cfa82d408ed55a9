"""Customer questions: what a customer wants, and which of the answers on file is the right one.

Made up from templates: six intents times eight products, so 48 answers, and questions that put them in other words. One
text encoder reads questions and answers (a dual encoder); a head tells the intent, and `kmtl.tasks.Relation` learns
which question goes with which answer from the pairs of a batch, here by a softmax over the answers in it. In serving
the answers' outputs are kept, and one product of matrices ranks them all for a question.

python examples/answer_matching.py            # a minute on two cores
python examples/answer_matching.py --smoke    # seconds; the numbers mean nothing
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
import numpy as np
from keras import ops

import kmtl
from kmtl.tasks import Relation, RelationLoss, relation_logits

INTENTS = {  # questions, and the answer
    "return": (["how do i send back my {}", "i want to return the {}"], "to return the {} print the label and post it"),
    "broken": (["my {} does not work", "the {} stopped working"], "if the {} fails hold its button for ten seconds"),
    "price": (["what does the {} cost", "how much is a {}"], "the {} is on offer and its price is shown in the shop"),
    "delivery": (
        ["when will my {} arrive", "where is the {} i ordered"],
        "the {} ships in two days with a tracking code",
    ),
    "parts": (
        ["can i get a spare part for my {}", "who sells parts of the {}"],
        "spare parts of the {} are sold online",
    ),
    "manual": (["where is the manual of the {}", "how do i set up the {}"], "a guide to the {} comes as a file"),
}
PRODUCTS = {  # what customers call it, and its name in the answers
    "toaster": ["toaster", "bread thing"],
    "kettle": ["kettle", "water boiler"],
    "lamp": ["lamp", "desk light"],
    "radio": ["radio", "little receiver"],
    "heater": ["heater", "warm air fan"],
    "mixer": ["mixer", "kitchen blender"],
    "phone": ["phone", "handset"],
    "clock": ["clock", "alarm thing"],
}
ASIDES = ["", "hello", "please help", "thanks", "it is urgent", "good morning", "i bought it last week"]
ANSWERS = [answer.format(product) for _, answer in INTENTS.values() for product in PRODUCTS]


@keras.saving.register_keras_serializable("answer_matching")
class InBatchSoftmax(RelationLoss):
    """Minus the log of the share that a question gives the answers in the batch that are right for it."""

    def call(self, y_true, y_pred):
        """One loss a row, of which the first label says what is right and the second what is there."""
        logits = relation_logits(y_pred, y_pred)
        right = ops.equal(y_true[:, :1], ops.transpose(y_true[:, 1:]))
        return ops.logsumexp(logits, axis=1) - ops.logsumexp(ops.where(right, logits, -1e9), axis=1)


def questions(number, seed):
    """Questions with the answers to them, and the labels."""
    generator = np.random.default_rng(seed)
    texts, numbers = [], generator.integers(0, len(ANSWERS), number)
    for answer in numbers:
        intent, product = divmod(answer, len(PRODUCTS))
        pattern = generator.choice(list(INTENTS.values())[intent][0])
        called = generator.choice(PRODUCTS[list(PRODUCTS)[product]])
        texts.append(" ".join([generator.choice(ASIDES), pattern.format(called), generator.choice(ASIDES)]))
    x = {"question": np.array(texts), "answer": np.array(ANSWERS)[numbers]}
    return x, {"intent": numbers // len(PRODUCTS), "match": np.stack([numbers, numbers], axis=1)}


def build(tasks, vocabulary):
    """One encoder for both texts, a head for the intent, and what scores pairs."""
    inputs = {name: keras.Input((), dtype="string", name=name) for name in ("question", "answer")}
    text = keras.Input((), dtype="string")
    encoder = keras.Model(text, kmtl.trunks.text(text, vocabulary, tokens=20, width=64, units=64), name="encoder")
    question, answer = (encoder(given) for given in inputs.values())
    outputs = kmtl.tasks.build_heads(question, tasks[:1])
    outputs["match"] = kmtl.sharing.PairRelation.of(tasks[1])([question, answer])
    model = kmtl.MultiTaskModel(inputs, outputs, tasks=tasks)
    model.compile(keras.optimizers.Adam(2e-3))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few questions, to see that everything runs")
    smoke = parser.parse_args().smoke
    keras.utils.set_random_seed(0)
    x, y = questions(300 if smoke else 6000, seed=0)
    new, labels = questions(200 if smoke else 2000, seed=1)
    vocabulary = kmtl.trunks.vocabulary([*x["question"], *x["answer"]])
    match = Relation("match", 64, target="equal", classes=len(ANSWERS), loss=InBatchSoftmax("equal"))
    model = build([kmtl.Classification("intent", len(INTENTS), label_names=list(INTENTS)), match], vocabulary)
    model.fit(x, y, epochs=1 if smoke else 6, batch_size=64, verbose=0)

    found = model.predict(new, verbose=0, batch_size=256)
    kept = model.predict({"question": np.array(ANSWERS), "answer": np.array(ANSWERS)}, verbose=0)["match"]
    ranked = np.argsort(-kmtl.sharing.PairRelation.probabilities(found["match"], kept), axis=1)
    wanted = labels["match"][:, :1]
    print(f"{len(wanted):,} new questions, {len(ANSWERS)} answers")
    print(f"{'':20}{'intent':>10}{'recall@1':>10}{'recall@3':>10}")
    rows = {"chance": [1 / len(INTENTS), 1 / len(ANSWERS), 3 / len(ANSWERS)]}
    intent = (found["intent"].argmax(-1) == labels["intent"]).mean()
    rows["dual encoder"] = [intent, *((ranked[:, :most] == wanted).any(1).mean() for most in (1, 3))]
    for way, cells in rows.items():
        print(f"{way:20}" + "".join(f"{cell:10.3f}" for cell in cells))


if __name__ == "__main__":
    main()
