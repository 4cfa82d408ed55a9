import numpy as np
import pytest
import tensorflow as tf
from export.serving import served
from tensorflow_serving.apis import prediction_log_pb2

from kmtl.export.serving import warmup


def read(path):
    """The requests of a warm-up file, parsed by TensorFlow Serving's protos."""
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(path)]
    assert {log.WhichOneof("log_type") for log in logs} == {"predict_log"}
    return [log.predict_log.request for log in logs]


def arrays(request):
    return {name: tf.make_ndarray(values) for name, values in request.inputs.items()}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return served.exported(tmp_path_factory.mktemp("warmup") / "pets")


def test_an_exported_version_replays_one_row_and_all_rows_on_every_signature(version):
    requests = read(str(version / "assets.extra" / "tf_serving_warmup_requests"))
    signatures = tf.saved_model.load(str(version)).signatures
    asked = [(request.model_spec.signature_name, len(arrays(request)["photo"])) for request in requests]
    assert sorted(asked) == sorted((name, count) for name in signatures for count in (1, 3))
    assert {request.model_spec.name for request in requests} == {"pets"}
    direct = signatures["serving_default"](**{name: tf.constant(value) for name, value in served.samples().items()})
    for request in requests:
        name, inputs = request.model_spec.signature_name, arrays(request)
        outputs = signatures[name](**{key: tf.constant(values) for key, values in inputs.items()})
        for task in set(outputs) & set(direct):
            expected = direct[task][: len(inputs["photo"])].numpy().reshape(outputs[task].shape)
            np.testing.assert_allclose(outputs[task], expected, atol=1e-6)


def test_values_and_dtypes_arrive_as_they_were_given(tmp_path):
    given = {
        "count": np.array([[3], [-2]], "int64"),
        "text": np.array(["füße", "b"]),
        "file": np.array([b"\x89PNG\x00", b"\xff\x00"], object),
    }
    path = warmup.write(tmp_path, "two words", {"first": given, "alone": {"count": given["count"][:1]}})
    requests = read(str(path))
    assert [request.model_spec.signature_name for request in requests] == ["first", "first", "alone"]
    for request, count in zip(requests[:2], (1, 2), strict=True):
        found = arrays(request)
        assert found["count"].dtype == np.int64
        assert found["count"].tolist() == given["count"][:count].tolist()
        assert found["text"].tolist() == ["füße".encode(), b"b"][:count]
        assert found["file"].tolist() == given["file"][:count].tolist()


def test_more_records_than_a_server_takes_are_refused_before_anything_is_written(tmp_path):
    row = {"row": np.zeros((2, 1), "float32")}
    with pytest.raises(ValueError, match=r"^saved_model: `warmup` must make at most 1000 records.*got 1002\."):
        warmup.write(tmp_path, "many", {f"task{number}": row for number in range(501)})
    assert list(tmp_path.iterdir()) == []
    path = warmup.write(tmp_path, "many", {f"task{number}": row for number in range(500)})
    assert len(read(str(path))) == 1000
