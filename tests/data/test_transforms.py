"""The geometry of the built-in sets, against closed forms and by two routes."""

import numpy as np
import pytest
import tensorflow as tf

from kmtl.data.built_in.digits import source_digits
from kmtl.data.built_in.transforms import ANGLES, CANVAS, SCALES, draw, draw_batch, inverse_affine, poses, to_bytes


def centroid(image):
    rows, columns = np.indices(image.shape)
    return np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()


def turned(angle, vector):
    """Rotates counter-clockwise on a page whose y points down."""
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return np.array([[cos, sin], [-sin, cos]]) @ vector


def one_pixel(row, column):
    source = np.zeros((8, 8))
    source[row, column] = 1.0
    return source


def test_one_ink_pixel_becomes_the_product_of_two_hats_where_the_formula_says():
    canvas = draw(one_pixel(row=5, column=2), angle=0.0, scale=2.0, position=(15.5, 10.5))
    hat = [0.25, 0.75, 0.75, 0.25]
    expected = np.zeros((CANVAS, CANVAS))
    # x = 15.5 + 2 * (2 - 3.5) = 12.5 and y = 10.5 + 2 * (5 - 3.5) = 13.5: two pixels to either side.
    expected[12:16, 11:15] = np.outer(hat, hat)
    np.testing.assert_allclose(canvas, expected, atol=1e-12)


def test_a_positive_angle_lifts_what_is_on_the_right():
    canvas = draw(one_pixel(row=3, column=7) + one_pixel(row=4, column=7), 45.0, 2.0, (15.5, 15.5))
    x, y = centroid(canvas) - 15.5
    along = 2 * 3.5 * np.sqrt(0.5)
    assert (x, y) == (pytest.approx(along, abs=0.1), pytest.approx(-along, abs=0.1))


def test_a_quarter_turn_counter_clockwise_is_that_of_numpy():
    source = source_digits()[0][5]
    upright, lying = (draw(source, angle, 2.0, (15.5, 15.5)) for angle in (0.0, 90.0))
    np.testing.assert_allclose(lying, np.rot90(upright), atol=1e-12)


def test_the_centroid_of_a_digit_follows_its_pose():
    images = source_digits()[0]
    drawn = poses(np.random.default_rng(3).random((60, 4)))
    gaps, ink = [], []
    for source, angle, scale, position in zip(images, *drawn, strict=False):
        canvas = draw(source, angle, scale, position)
        gaps.append(centroid(canvas) - position - scale * turned(angle, centroid(source) - 3.5))
        ink.append(canvas.sum() / (scale**2 * source.sum()))
    assert len(gaps) == 60
    # Sampling leaves hundredths of a pixel; a wrong centre would leave a half.
    assert np.abs(gaps).max() < 0.06
    np.testing.assert_allclose(ink, 1.0, atol=0.03)


def test_scipy_and_tensorflow_draw_the_same_picture():
    images = source_digits()[0][:40]
    angle, scale, position = poses(np.random.default_rng(4).random((40, 4)))
    one_by_one = np.stack([draw(*row) for row in zip(images, angle, scale, position, strict=True)])
    at_once = draw_batch(*(tf.constant(part, tf.float32) for part in (images, angle, scale, position)))
    assert at_once.shape == (40, CANVAS, CANVAS, 1)
    np.testing.assert_allclose(at_once[..., 0], one_by_one, atol=1e-4)


@pytest.mark.parametrize("corner", np.stack(np.meshgrid(*[[0.0, 0.5, 1.0]] * 4), -1).reshape(-1, 4).tolist())
def test_no_pose_cuts_off_ink(corner):
    angle, scale, position = (part[0] for part in poses(np.array([corner])))
    source = np.ones((8, 8))
    roomy = draw(source, angle, scale, position + CANVAS, size=3 * CANVAS)
    assert draw(source, angle, scale, position).sum() == pytest.approx(roomy.sum(), rel=1e-9)


def test_positions_use_the_room_there_is():
    angle, scale, position = poses(np.array([[0.5, 0.0, 0.0, 1.0]]))
    wide = draw(np.ones((8, 8)), angle[0], scale[0], position[0]) > 0
    assert wide[-1].any()
    assert wide[:, 0].any()


def test_angles_and_scales_are_uniform_in_their_ranges():
    angle, scale, _ = poses(np.random.default_rng(5).random((20_000, 4)))
    for values, (low, high) in [(angle, ANGLES), (scale, SCALES)]:
        counts = np.histogram(values, bins=10, range=(low, high))[0]
        assert counts.sum() == 20_000
        assert np.abs(counts - 2_000).max() < 200


def test_numpy_and_tensorflow_draw_the_same_poses():
    uniform = np.random.default_rng(6).random((50, 4))
    for ours, theirs in zip(poses(uniform), poses(tf.constant(uniform), tf), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_the_inverse_finds_the_source_of_a_canvas_point():
    angle, scale, position = 30.0, 1.7, np.array([11.0, 20.0])
    source = np.array([6.0, 1.0])
    canvas = position + scale * turned(angle, source - 3.5)
    matrix = inverse_affine(np.float64(angle), np.float64(scale), position).reshape(2, 3)
    np.testing.assert_allclose(matrix @ [*canvas, 1.0], source, atol=1e-12)


def test_bytes_span_the_whole_range():
    assert to_bytes([0.0, 0.5 / 255 + 1e-9, 1.0]).tolist() == [0, 1, 255]
