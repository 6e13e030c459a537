"""Grids hold zero exactly, cover their range, and never divide by zero."""

import numpy as np
import pytest

from edgewright.export.onnx.quantize.grid import Grid, activation_grid, channel_scales, encode_weight


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (2.0, 5.0), (-4.0, -1.0), (-1e-3, 1e4), (0.0, 1e-9), (-3e38, 3e38)]
)
def test_activation_grid(low: float, high: float) -> None:
    grid = activation_grid(low, high)
    assert grid.scale == np.float32(grid.scale) > 0
    assert -128 <= grid.zero_point <= 127
    assert grid.encode(0.0) == grid.zero_point
    values = np.linspace(min(low, 0), max(high, 0), 1001)
    decoded = (grid.encode(values).astype(np.float64) - grid.zero_point) * grid.scale
    assert np.abs(decoded - values).max() <= grid.scale * 1.001


def test_one_sided_ranges_use_every_code() -> None:
    assert activation_grid(0.0, 5.1) == Grid(float(np.float32(5.1 / 255)), -128)
    assert activation_grid(-5.1, 0.0) == Grid(float(np.float32(5.1 / 255)), 127)


def test_a_tensor_of_zeros_and_a_vanishing_range_get_a_usable_scale() -> None:
    assert activation_grid(0.0, 0.0).scale == 2.0**-8
    assert activation_grid(0.0, 1e-40).scale == 2.0**-60


def test_weights_are_symmetric_per_channel() -> None:
    weight = np.array([[1.0, -2.0], [0.5, 0.25]])
    scales = channel_scales(weight, 0, None, 1.0)
    np.testing.assert_allclose(scales, [2 / 127, 0.5 / 127])
    np.testing.assert_array_equal(encode_weight(weight, 0, scales), [[64, -127], [127, 64]])
    np.testing.assert_allclose(channel_scales(weight, 1, None, 1.0), [1 / 127, 2 / 127])


def test_dead_channels_take_the_largest_scale() -> None:
    np.testing.assert_allclose(channel_scales(np.array([[0.0, 0.0], [2.54, 0.0]]), 0, None, 1.0), [0.02, 0.02])
    np.testing.assert_allclose(channel_scales(np.zeros((3, 2)), 0, None, 1.0), [1 / 127] * 3)


def test_a_scale_grows_until_its_bias_fits() -> None:
    weight, bias, input_scale = np.full((2, 4), 1e-9), np.array([100.0, 0.0]), 1e-3
    scales = channel_scales(weight, 0, bias, input_scale)
    assert abs(bias[0] / (input_scale * float(scales[0]))) <= 2**30 * 1.001
    assert scales[1] == np.float32(1e-9 / 127)
