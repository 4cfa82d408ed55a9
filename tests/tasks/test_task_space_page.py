"""The blocks of docs/task_space.md run, and the product of heads that they build is one."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import kmtl

PAGE = (Path(__file__).parents[2] / "docs" / "task_space.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.long
def test_the_blocks_do_what_the_page_says():
    names = {}
    for code in BLOCKS[:2]:
        exec(compile(code, "docs/task_space.md", "exec"), names)
    x, labels, model = names["x"], names["labels"], names["model"]
    face = labels["face"] == 1
    mae = model.evaluate(x, labels, verbose=0, return_dict=True)["box_mae"]
    gap = np.abs(model.predict(x, verbose=0)["box"] - labels["box"])
    assert mae == pytest.approx(gap[face].mean(), rel=1e-4)
    np.testing.assert_allclose(model.scalers["box"].mean.numpy(), labels["box"][face].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(names["alone"].scalers["box"].mean.numpy(), labels["box"][face].mean(axis=0), rtol=1e-5)
    turned = face & (labels["pose"] > 0)
    np.testing.assert_allclose(model.scalers["turn"].mean.numpy(), labels["turn"][turned].mean(), rtol=1e-5)
    exec(compile(BLOCKS[2], "docs/task_space.md", "exec"), names)
    output = names["output"]
    np.testing.assert_allclose(output["sale"], output["click"] * output["sale_given_click"], rtol=1e-6)


def product(others=0, **options):
    """A linear model of both heads and their product, in which nothing else is shared."""
    keras.utils.set_random_seed(4)
    given = keras.Input((3,), name="given")
    tasks = [
        kmtl.BinaryClassification("click"),
        kmtl.BinaryClassification("sale", product_of=("click", "after")),
        kmtl.BinaryClassification("after", where={"click": 1}),
        *(kmtl.BinaryClassification(f"more_{index}") for index in range(others)),
    ]
    model = kmtl.MultiTaskModel.from_features(given, given, tasks)
    model.compile(keras.optimizers.SGD(1.0), loss_weights={"after": 0.0}, run_eagerly=True, **options)
    return model


X = np.random.default_rng(3).normal(size=(6, 3)).astype("float32")
CLICK, SALE = np.array([1, 1, 0, 0, 1, -1]), np.array([1, 0, 0, 0, -1, 1])
LABELS = {"click": CLICK, "sale": SALE, "after": SALE}


def test_a_product_of_heads_is_the_closed_form_and_its_loss_reaches_both(tmp_path):
    """One step of gradient descent, against the derivative by hand: of -log(pq) by a logit it is p - 1, of
    -log(1 - pq) it is pq (1 - p) / (1 - pq)."""
    model = product()
    assert list(model.output) == ["click", "sale", "after"]
    before = {name: [value.numpy() for value in model.get_layer(name).weights] for name in ("click", "after")}
    p, q = ((1 / (1 + np.exp(-(X @ kernel + bias))))[:, 0] for kernel, bias in before.values())
    np.testing.assert_allclose(model.predict(X, verbose=0)["sale"][:, 0], p * q, rtol=1e-5)
    logs = model.train_on_batch(X, LABELS, return_dict=True)
    known = SALE >= 0
    loss = -np.where(SALE == 1, np.log(p * q), np.log(1 - p * q))[known].mean()
    assert logs["sale_loss"] == pytest.approx(loss, rel=1e-4)
    # Of those that were clicked.
    assert logs["after_loss"] == pytest.approx(-np.log([q[0], 1 - q[1]]).mean(), rel=1e-4)

    def slope(own):
        return np.where(SALE == 1, own - 1, p * q * (1 - own) / (1 - p * q)) * known / known.sum()

    own = np.where(CLICK >= 0, p - CLICK, 0) / (CLICK >= 0).sum()
    for name, slopes in (("click", slope(p) + own), ("after", slope(q))):
        kernel, bias = (value.numpy() for value in model.get_layer(name).weights)
        np.testing.assert_allclose(before[name][0][:, 0] - kernel[:, 0], X.T @ slopes, atol=1e-6)
        np.testing.assert_allclose(before[name][1] - bias, [slopes.sum()], atol=1e-6)
    model.save(tmp_path / "product.keras")
    again = keras.saving.load_model(tmp_path / "product.keras")
    assert again.tasks["sale"].product_of == ("click", "after")
    np.testing.assert_array_equal(again(X)["sale"], model(X)["sale"])


def test_its_factors_are_shared_and_not_fused_and_it_takes_no_features():
    model = product(others=4)
    heads = {id(value) for name in ("click", "after") for value in model.get_layer(name).trainable_variables}
    assert {id(value) for value in model.shared_variables} == heads
    assert model.get_layer("more_0_and_3_more").names == [f"more_{index}" for index in range(4)]
    assert [fork.names for fork in model.forks] == [["click", "after", *(f"more_{index}" for index in range(4))]]
    model.compile("sgd", balancer="upgrad", run_eagerly=True)
    logs = model.train_on_batch(X, LABELS | {f"more_{index}": CLICK for index in range(4)}, return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    with pytest.raises(ValueError, match=r"level='features' needs tasks that take features of their own"):
        model.compile("sgd", balancer=kmtl.balancers.UPGrad(level="features"))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: kmtl.BinaryClassification("sale", product_of="click"), "must name at least two other tasks"),
        (lambda: kmtl.BinaryClassification("sale", product_of=("click", "sale")), "must name at least two other tasks"),
        (lambda: kmtl.BinaryClassification("sale", product_of=("click", "a"), hidden=3), "Leave out hidden"),
        (lambda: kmtl.BinaryClassification("sale", product_of=("click", "clck")), "Did you mean 'click'"),
        (lambda: kmtl.BinaryClassification("sale", product_of=("click", "age")), "must name tasks of its kind, binary"),
    ],
)
def test_what_is_no_product_is_refused(made, message):
    def build():
        given = keras.Input((3,))
        tasks = [kmtl.BinaryClassification("click"), kmtl.Regression("age"), made()]
        kmtl.tasks.build_heads(given, tasks)

    with pytest.raises(ValueError, match=message):
        build()


def test_a_product_alone_has_a_head_of_its_own():
    task = kmtl.BinaryClassification("sale", product_of=("click", "after"))
    given = keras.Input((3,))
    outputs = kmtl.tasks.build_heads(given, [task.alone()])
    assert ops.shape(outputs["sale"]) == (None, 1)
    assert task.product_of == ("click", "after")
