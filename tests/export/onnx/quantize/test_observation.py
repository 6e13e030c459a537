"""Ranges from streams, compared with numpy on all values at once."""

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.quantize.grid import activation_grid
from edgewright.export.onnx.quantize.observation import Observation


def seen(batches: list[NDArray[np.float64]]) -> Observation:
    observation = Observation()
    for batch in batches:
        observation.add(batch)
    return observation


def test_minmax_and_average() -> None:
    observation = seen([np.array([-1.0, 2.0]), np.array([-3.0, 4.0]), np.array([1.0, 9.0])])
    assert observation.range("minmax") == (-3.0, 9.0)
    assert observation.range("average") == (-1.0, 5.0)


def test_percentile_of_a_growing_signal() -> None:
    generator = np.random.default_rng(0)
    batches = [generator.normal(0, spread, 10_000) for spread in (0.01, 0.5, 1.0, 3.0)]
    low, high = seen(batches).range("percentile")
    wanted = np.percentile(np.concatenate(batches), [0.005, 99.995])
    np.testing.assert_allclose([low, high], wanted, atol=16 / 2048 * 2)


def test_percentile_ignores_an_outlier() -> None:
    values = np.random.default_rng(1).uniform(-1, 1, 50_000)
    values[7] = 40.0
    observation = seen([values[:100], *np.split(values[100:], 10)])
    low, high = observation.range("percentile")
    assert observation.high == 40.0
    assert -1.1 < low < -0.9
    assert 0.9 < high < 1.1


def test_one_sided_ranges_stay_one_sided() -> None:
    values = np.maximum(np.random.default_rng(2).normal(size=20_000), 0)
    for estimator in ("minmax", "average", "percentile"):
        low, high = seen([values, values * 0.5]).range(estimator)
        assert low == 0.0
        assert 0 < high <= values.max()


def test_zeros_alone() -> None:
    observation = seen([np.zeros(8), np.zeros(8)])
    assert [observation.range(estimator) for estimator in ("minmax", "average", "percentile")] == [(0.0, 0.0)] * 3


def test_memory_does_not_grow() -> None:
    observation = Observation()
    sizes = set()
    for count in range(1, 200):
        observation.add(np.full(count, float(count)))
        sizes.add(observation._counts.nbytes)
    assert sizes == {2 * 2048 * 8}
    assert observation._counts.sum() == sum(range(1, 200))


def test_an_empty_tensor_adds_nothing() -> None:
    seen, empty = Observation(), np.zeros((1, 0, 3), np.float32)
    seen.add(empty)
    assert [seen.range(estimator) for estimator in ("minmax", "average", "percentile")] == [(0.0, 0.0)] * 3
    seen.add(np.array([-1.0, 2.0], np.float32))
    seen.add(empty)
    assert seen.range("minmax") == seen.range("average") == (-1.0, 2.0)


def test_least_error_cuts_a_rare_outlier_and_keeps_a_plain_range() -> None:
    generator = np.random.default_rng(3)
    plain = generator.uniform(-1, 3, 40_000)
    assert np.allclose(seen([plain]).range("mse"), (-1, 3), atol=0.1)
    values = generator.uniform(-1, 1, 800_000)
    values[0] = 6.0
    low, high = seen(np.split(values, 80)).range("mse")
    assert 1 <= high < 3
    assert squared_error(values, low, high) < 0.8 * squared_error(values, values.min(), values.max())


def test_divergence_does_not_count_what_a_relu_cut_off() -> None:
    values = np.maximum(np.random.default_rng(4).normal(0.5, 1, 60_000), 0)
    low, high = seen([values]).range("entropy")
    assert low == 0.0
    assert np.percentile(values, 99) < high <= values.max()
    zeros = seen([np.zeros(100), np.array([1e-9])])
    assert zeros.range("entropy")[1] <= 1e-9


def squared_error(values: NDArray[np.float64], low: float, high: float) -> float:
    grid = activation_grid(low, high)
    real = (grid.encode(values).astype(float) - grid.zero_point) * grid.scale
    return float(np.mean((real - values) ** 2))
