"""Outputs with as many rows as a model finds: joined with their numbers, compared sample by sample."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadData
from edgewright.export.verify import LIMITS, Fidelity, fidelity, shortfalls
from edgewright.runtimes.contract import Contract, TensorInfo
from edgewright.runtimes.runtime import ROWS, Arrays, run_samples

SAMPLES = Samples({"x": np.zeros((3, 1), np.float32)}, labels=None)


class Counting:
    """Gives as many rows a sample as its number says; `lengths` are those of the input."""

    def __init__(self, lengths: tuple[int | None, ...]) -> None:
        self.contract = Contract((TensorInfo("x", lengths),), (TensorInfo("y", (None, 2)),))

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        numbers = [int(n) for n in inputs["x"].ravel()]
        return {"y": np.concatenate([np.full((n, 2), n, np.float32) for n in numbers])}

    def prepared(self, inputs: Arrays) -> Callable[[], None]:  # noqa: ARG002
        return lambda: None

    def intermediates(self, inputs: Arrays) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        return {}


@pytest.mark.parametrize("lengths", [(1, 1), (None, 1)])
def test_all_rows_and_how_many_each_call_gave(lengths: tuple[int | None, ...]) -> None:
    found = run_samples(Counting(lengths), {"x": np.array([[2], [0], [3]], np.float32)})
    assert found["y"].tolist() == [[2, 2]] * 2 + [[3, 3]] * 3
    assert found[f"y{ROWS}"].tolist() == [2, 0, 3]


def test_one_row_a_sample_is_the_usual_case() -> None:
    found = run_samples(Counting((None, 1)), {"x": np.ones((3, 1), np.float32)})
    assert list(found) == ["y"] and found["y"].shape == (3, 2)


def outputs(rows: list[list[float]], counts: list[int]) -> dict[str, NDArray[Any]]:
    return {"y": np.array(rows, np.float32).reshape(-1, 2), f"y{ROWS}": np.array(counts)}


TRUTH = outputs([[1, 9], [2, 8], [5, 5], [3, 7]], [2, 1, 1])


def test_rows_that_changed_places_are_the_same_and_each_counts_once() -> None:
    assert fidelity(TRUTH, outputs([[2, 8], [1, 9], [5, 5], [3, 7]], [2, 1, 1]), SAMPLES).snr_db == float("inf")
    twice = fidelity(TRUTH, outputs([[1, 9], [1, 9], [5, 5], [3, 7]], [2, 1, 1]), SAMPLES)
    assert (twice.max_abs, twice.rows_agreement, twice.top1_agreement) == (1, 1, None)


def test_a_sample_with_another_number_of_rows_is_named() -> None:
    found = fidelity(TRUTH, outputs([[1, 9], [2, 8], [3, 7]], [2, 0, 1]), SAMPLES)
    assert (found.snr_db, found.rows_agreement) == (float("inf"), 0.75)
    assert found.rows_differ == ("'y' of sample 1 has 0 rows, not 1",)
    [missed] = shortfalls(found, LIMITS[Precision.INT8])
    assert missed == "agreement on 75.00% of the rows is below 93.0%: 'y' of sample 1 has 0 rows, not 1"
    assert Fidelity.from_json(found.to_json()) == found


def test_an_artifact_that_always_gives_one_row_is_comparable() -> None:
    plain = {"y": TRUTH["y"][1:]}
    found = fidelity(TRUTH, plain, SAMPLES)
    assert (found.rows_agreement, len(found.rows_differ)) == (0.75, 1)
    assert fidelity(plain, TRUTH, SAMPLES).rows_agreement == 0.75


def test_nothing_found_anywhere_agrees() -> None:
    nothing = outputs([], [0, 0, 0])
    found = fidelity(nothing, nothing, SAMPLES)
    assert (found.snr_db, found.max_abs, found.rows_agreement) == (float("inf"), 0, 1)


def test_other_columns_cannot_be_compared() -> None:
    with pytest.raises(BadData, match="y has shape"):
        fidelity(TRUTH, {"y": np.zeros((4, 3)), f"y{ROWS}": np.array([2, 1, 1])}, SAMPLES)
