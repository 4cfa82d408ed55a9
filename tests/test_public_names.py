"""The public face: every name that is promised exists, and importing kmtl is light."""

import inspect
import os
import subprocess
import sys

import pytest

import kmtl

PROMISED = {
    "kmtl": "BinaryClassification Classification JointLoss JointMetric MultiLabel MultiTaskModel Regression Task",
    "tasks": "Detection OrdinalRegression Relation Segmentation TwoLabels build_heads",
    "balancers": "Balancer get names",
    "trunks": "Options backbone convnet inception pool resnet vgg",
    "data": "augment from_arrays from_folder from_frame load mix only pairs split_by_task tasks",
    "sharing": "AveragedHeads Cascade ConceptExpansion Contrastive CrossStitch FeatureFusion Fork InputDropout "
    "PairRelation SiamesePair TwoLabelHead classifier_and_detector present_rows shared_and_own_heads",
    "metrics": "ClassificationReport delta_m delta_p mean_rank",
    "callbacks": "ClassificationReports Constrained DeltaM EarlyStopping TaskEarlyStopping TensorBoard WorstTask",
    "weighting": "by_difficulty by_initial_loss by_label_count",
    "evidence": "advise affinity calibrate compare conformal diagnose grad_cam groups load plot_curves plot_samples "
    "recommend report",
    "front": "FiLM Front LowRankAdapter Point condition fold hypervolume lattice non_dominated plot_front train",
    "search": "Constrained DeltaM Space WeightSearch as_chief as_worker from_dynamic front weights",
    "export": "Images check inspect litert load_keras onnx quality request_examples saved_model serving_config",
}
HEAVY = ["tensorflow_datasets", "sklearn", "scipy", "pandas", "matplotlib", "keras_tuner", "ai_edge_litert"]
HEAVY += ["onnx", "onnxruntime", "tensorflow_serving", "moocore", "tensorboard"]


def test_promised_names_exist():
    for room, names in PROMISED.items():
        owner = kmtl if room == "kmtl" else getattr(kmtl, room)
        missing = [name for name in names.split() if not hasattr(owner, name)]
        assert not missing, (room, missing)


def test_everything_public_is_listed_and_documented():
    for room in PROMISED:
        owner = kmtl if room == "kmtl" else getattr(kmtl, room)
        for name in getattr(owner, "__all__", []):
            assert getattr(owner, name).__doc__, f"{room}.{name}"


DOORS = [
    *(kmtl.data.from_arrays, kmtl.data.from_frame, kmtl.data.from_folder, kmtl.data.from_shards),
    *(kmtl.data.write_shards, kmtl.data.mix, kmtl.data.split, kmtl.evidence.compare, kmtl.search.weights),
    *(
        kmtl.evidence.groups,
        kmtl.evidence.affinity,
        kmtl.front.train,
        kmtl.export.saved_model,
        kmtl.export.litert,
        kmtl.export.onnx,
    ),
    kmtl.evidence.report,
]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_misspelt_argument_is_told_its_match(door):
    name = list(inspect.signature(door).parameters)[-1]
    with pytest.raises(TypeError, match=f"^{door.__name__}: `{name}s` must be .*, got 1. Did you mean '{name}'"):
        door(**{f"{name}s": 1})


@pytest.mark.long
def test_import_stays_light():
    # Keras itself imports some of these where they are installed, but not in a process of the tests, where
    # `tests/processes/sitecustomize.py` hides them from it; kmtl must not add any.
    code = (
        f"import sys, keras; b = set(sys.modules); import kmtl; print(sorted((set(sys.modules) - b) & set({HEAVY!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_notebook_is_offered_the_public_names_alone():
    assert {name for name in dir(kmtl) if not name.startswith("_")} == set(kmtl.__all__)


def test_another_backend_is_refused_by_name():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", "import kmtl"], capture_output=True, text=True, env=environment, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: kmtl: `KERAS_BACKEND` must be 'tensorflow', got 'jax'.")
