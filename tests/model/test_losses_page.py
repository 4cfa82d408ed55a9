"""The blocks of docs/losses_and_metrics.md run and show what the page says."""

import contextlib
import re

import keras
import numpy as np
import pytest
from pages import DOCS, blocks, eagerly

PAGE = (DOCS / "losses_and_metrics.md").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the blocks define, run once in a folder of their own."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for code in blocks("losses_and_metrics.md"):
            # The first one trains for long, the others for a few steps.
            with contextlib.nullcontext() if "epochs=15" in code else eagerly():
                for old, new in (("epochs=20", "epochs=2, batch_size=128"), ("epochs=5", "epochs=2, batch_size=128")):
                    code = code.replace(old, new)
                exec(compile(code, "docs/losses_and_metrics.md", "exec"), names)
        names["reloaded"] = keras.saving.load_model("physics.keras")
    return names


@pytest.mark.long
def test_the_law_lowers_the_error_of_what_few_rows_are_labelled_for(page):
    assert page["errors"]["with"] < 0.75 * page["errors"]["without"]
    told = [float(number) for number in re.findall(r"'with(?:out)?': (\d\.\d+)", PAGE)]
    assert list(page["errors"].values()) == pytest.approx(told, abs=0.1)
    assert page["reloaded"].setup.joint.losses[0].fn is page["energy_gap"]


@pytest.mark.long
def test_every_part_is_logged_and_adds_up(page):
    assert {"outside_loss", "val_outside_loss", "both_right", "val_both_right"} <= set(page["history"])
    logs = {key: values[-1] for key, values in page["found"].items()}
    assert logs["clean_loss"] == pytest.approx(logs["clean_l1_loss"] + 0.2 * logs["clean_ssim_loss"], rel=1e-4)
    assert logs["loss"] == pytest.approx(
        sum(logs[f"{t}_weight"] * logs[f"{t}_loss"] for t in ("clean", "area")), rel=1e-4
    )


@pytest.mark.long
def test_validation_weighs_by_the_static_weights(page):
    """The two formulas of the page; the law stands in both."""
    model = page["build"](joint_losses=[page["law"]], balancer="uncertainty", loss_weights={"energy": 0.5})
    rows = page["sensors"][:256], {name: label[:256] for name, label in page["truth"].items()}
    logs = {key: values[0] for key, values in model.fit(*rows, validation_data=rows, verbose=0).history.items()}
    names = [*model.tasks, "law"]
    assert logs["loss"] == pytest.approx(sum(logs[f"{n}_weight"] * logs[f"{n}_loss"] for n in names), rel=1e-4)
    weights = model.loss_weights
    assert logs["val_loss"] == pytest.approx(sum(weights[n] * logs[f"val_{n}_loss"] for n in names), rel=1e-4)
    assert not np.isclose(logs["loss"], logs["val_loss"], rtol=0.05)
