"""Every example runs, and leaves what it says."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.mark.slow  # CI runs the command itself
def test_quickstart_smoke(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart.py", "--smoke", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TFDS_DATA_DIR": str(tmp_path / "data")},
    )
    assert done.returncode == 0, done.stderr
    for word in ("digit", "angle", "position", "delta_m", "parameters", "training seconds"):
        assert word in done.stdout
    for name in ("digit_poses_curves.png", "digit_poses_samples.png", "digit_poses.tflite"):
        assert (tmp_path / name).stat().st_size > 1000
    assert (tmp_path / "digit_poses" / "1" / "saved_model.pb").exists()


@pytest.mark.slow  # CI runs the command with one worker itself
@pytest.mark.parametrize("workers", [1, 2])
def test_many_workers_smoke(tmp_path, workers):
    program = [EXAMPLES / "many_workers.py", "--smoke", "--out", tmp_path]
    launcher = ["-m", "kmtl.distribution", "--workers", "2"] if workers > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, *program],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TFDS_DATA_DIR": str(tmp_path / "data")},
    )
    assert done.returncode == 0, done.stderr
    assert f"{workers} replicas, position_mae" in done.stdout
    assert not (tmp_path / "backups").exists()


@pytest.mark.slow  # CI runs the command itself
def test_export_forms_smoke(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "export_forms.py", "--smoke", "--out", tmp_path / "forms"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TFDS_DATA_DIR": str(tmp_path / "data")},
    )
    assert done.returncode == 0, done.stderr
    for words in ("SavedModel of", "LiteRT of", "ONNX of", "JPEG files in, labels out", "image_bytes"):
        assert words in done.stdout
    assert (tmp_path / "forms" / "digit_poses_float32.tflite").exists()
    # What one epoch of a few batches has learned may be lost in rounding: such a file is refused by name.
    for mode in ("float16", "dynamic", "int8", "int8_io"):
        name = f"digit_poses_{mode}.tflite"
        assert (tmp_path / "forms" / name).exists() != (f"{name} was not written" in done.stdout)


@pytest.mark.slow  # CI runs the command itself
def test_trade_off_smoke(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "trade_off.py", "--smoke", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TFDS_DATA_DIR": str(tmp_path / "data")},
    )
    assert done.returncode == 0, done.stderr
    for words in ("21 points in", "steps make the favoured task worse", "knee: {'digit':", "with each request"):
        assert words in done.stdout
    assert (tmp_path / "out" / "front.png").stat().st_size > 5000
    for name in ("knee", "any_preference"):
        assert (tmp_path / "out" / name / "1" / "saved_model.pb").exists()
