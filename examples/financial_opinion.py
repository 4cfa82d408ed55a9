"""Financial opinion: the topic and the sentiment of each post, and an alarm when a topic turns bad by its own measure.

Everything here is made up from templates: companies, posts, and one surge of complaints that is planted in the stream.
One text model tells topic and sentiment; a third of the training posts has no label of sentiment. Of each topic the
share of negative posts a day is held against its own history, an exponentially weighted mean m and variance v:

    z = (share - m) / sqrt(v);   m <- m + a (share - m),   v <- (1 - a) (v + a (share - m)^2)

A topic that is always scolded raises no alarm, and one that is seldom scolded does when that changes.

python examples/financial_opinion.py            # a minute on two cores
python examples/financial_opinion.py --smoke    # seconds; the numbers mean nothing
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
import numpy as np

import kmtl

TOPICS = {
    "banking": ["the savings account", "the mortgage desk", "this bank", "the card service"],
    "energy": ["the power tariff", "the gas supplier", "the solar fund", "the grid operator"],
    "cars": ["the new van", "the electric model", "the dealer network", "the battery plant"],
}
MOODS = {
    "negative": ["is a disaster", "lost my money again", "keeps failing", "is falling fast", "was a bad surprise"],
    "neutral": ["reports on monday", "moved its office", "has a new logo", "holds its meeting", "published figures"],
    "positive": ["beats all forecasts", "pays out well", "is improving", "was a good surprise", "is worth holding"],
}
FRAMES = ["{} {}", "honestly {} {}", "i think {} {} these days", "friends say {} {}", "so {} {} , wow", "today {} {}"]
USUAL = {"banking": 0.35, "energy": 0.2, "cars": 0.1}  # share of negative posts
DAYS, A_DAY = 120, 80
SURGE, SURGING, SURGED = 90, "cars", 0.35  # no worse than banking ever is
THRESHOLD, RATE, SETTLING = 5.0, 0.1, 30


def posts(number, topic, negative, generator):
    """Posts on one topic, and their moods."""
    chances = [negative, (1 - negative) / 2, (1 - negative) / 2]
    moods = generator.choice(3, number, p=chances)
    words = [generator.choice(MOODS[list(MOODS)[mood]]) for mood in moods]
    return [generator.choice(FRAMES).format(generator.choice(TOPICS[topic]), mood) for mood in words], moods


def training_set(number, seed):
    """Texts and labels, a third of the moods missing."""
    generator = np.random.default_rng(seed)
    drawn = [posts(number // 3, topic, 1 / 3, generator) for topic in TOPICS]
    moods = np.concatenate([moods for _, moods in drawn])
    labels = {
        "topic": np.repeat(np.arange(3), number // 3),
        "mood": np.where(generator.random(len(moods)) < 1 / 3, -1, moods),
    }
    order = generator.permutation(len(moods))
    texts = np.array([text for texts, _ in drawn for text in texts])
    return texts[order], {name: values[order].astype("int32") for name, values in labels.items()}


def deviations(shares):
    """How far each day lies from the topic's history, in its standard deviations; none while that settles."""
    mean, variance = shares[:SETTLING].mean(), shares[:SETTLING].var()
    found = np.zeros(len(shares))
    for day in range(SETTLING, len(shares)):
        gap = shares[day] - mean
        found[day] = gap / np.sqrt(variance)
        mean += RATE * gap
        variance = (1 - RATE) * (variance + RATE * gap**2)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few posts and days, to see that everything runs")
    smoke = parser.parse_args().smoke
    keras.utils.set_random_seed(0)
    x, y = training_set(600 if smoke else 3000, seed=0)
    text = keras.Input((), dtype="string", name="text")
    features = kmtl.trunks.text(text, kmtl.trunks.vocabulary(x), tokens=12, width=32, units=None)
    tasks = [
        kmtl.Classification(name, 3, label_names=list(names)) for name, names in (("topic", TOPICS), ("mood", MOODS))
    ]
    model = kmtl.MultiTaskModel.from_features(text, features, tasks)
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(x, y, epochs=2 if smoke else 5, batch_size=32, verbose=0)

    generator = np.random.default_rng(1)
    shares = np.zeros((3, DAYS))
    stream = [
        posts(A_DAY, topic, SURGED if topic == SURGING and day >= SURGE else USUAL[topic], generator)
        for day in range(DAYS)
        for topic in TOPICS
    ]
    outputs = model.predict(np.array([text for texts, _ in stream for text in texts]), batch_size=512, verbose=0)
    topic, mood = (outputs[name].argmax(-1).reshape(DAYS, -1) for name in ("topic", "mood"))
    right = (mood.ravel() == np.concatenate([moods for _, moods in stream])).mean()
    for place in range(3):
        shares[place] = [(mood[day][topic[day] == place] == 0).mean() for day in range(DAYS)]
    alarms = [
        (day, name, z[day])
        for name, z in zip(TOPICS, map(deviations, shares), strict=True)
        for day in range(DAYS)
        if z[day] > THRESHOLD
    ]
    print(f"{len(stream) * A_DAY:,} posts in {DAYS} days, {right:.3f} of the moods right; negative are {USUAL},")
    print(f"from day {SURGE} on {SURGED} of those on {SURGING}")
    for day, name, z in sorted(alarms):
        print(f"day {day:3}  {name:8} {z:5.1f} standard deviations above its history")
    early = [day for day, name, _ in alarms if day < SURGE or name != SURGING]
    print(f"alarms without a surge  {len(early):.1f}")


if __name__ == "__main__":
    main()
