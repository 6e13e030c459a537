import numpy as np
import pytest

from edgewright.benchmarks.bootstrap import median_interval


def test_equal_samples_leave_no_doubt() -> None:
    assert median_interval([[2.0] * 10, [2.0] * 10]) == (2.0, 2.0)


def test_width_for_one_process_is_that_of_theory() -> None:
    # Standard error of a normal sample's median: sqrt(pi / 2) × sigma / sqrt(n).
    samples = np.random.default_rng(1).normal(5.0, 1.0, 400)
    low, high = median_interval([samples.tolist()])
    assert low < np.median(samples) < high
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(np.pi / 2) / 20, rel=0.3)


def test_interval_covers_what_differs_between_processes() -> None:
    low, high = median_interval([[1.0] * 40, [1.1] * 40, [1.2] * 40])
    assert (low, high) == (pytest.approx(1.0), pytest.approx(1.2))


def test_interval_narrows_with_more_samples() -> None:
    generator = np.random.default_rng(2)

    def width(count: int) -> float:
        low, high = median_interval([generator.normal(5, 1, count).tolist() for _ in range(3)])
        return high - low

    assert width(400) < width(25) / 2


def test_same_seed_same_interval_and_sizes_may_differ() -> None:
    groups = [np.random.default_rng(3).normal(5, 1, n).tolist() for n in (25, 400)]
    assert median_interval(groups, seed=7) == median_interval(groups, seed=7)
    assert median_interval(groups, seed=7) != median_interval(groups, seed=8)
