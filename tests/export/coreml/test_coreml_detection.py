"""NonMaxSuppression against onnxruntime, row for row: ties, boxes without area, flipped corners, computed limits."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import parser

from edgewright.errors import UnsupportedOps
from edgewright.export.coreml.convert import convert
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.onnx.simplify import simplify
from edgewright.runtimes.mil.session import MilSession
from tests.export.coreml.packages import op_types

Arrays = dict[str, NDArray[Any]]


def detector(constants: str, inputs: str, attributes: str = "", tail: str = "rows = Identity (found)") -> bytes:
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[2,12,4] boxes, float[2,3,12] scores{inputs}) => ({"float[n,4]" if "picked" in tail else "int64[n,3]"} rows)
    <{constants}> {{
        found = NonMaxSuppression {attributes} (boxes, scores, most, overlap, lowest)
        {tail}
    }}"""
    return bytes(parser.parse_model(text).SerializeToString())


FIXED = "int64 most = {5}, float overlap = {0.3}, float lowest = {0.2}"


def drawn(seed: int) -> Arrays:
    """Boxes on a coarse grid (some flipped, equal, or without area) and scores with many ties."""
    draw = np.random.default_rng(seed)
    return {
        "boxes": draw.integers(0, 6, (2, 12, 4)).astype(np.float32) / 2,
        "scores": draw.integers(0, 5, (2, 3, 12)).astype(np.float32) / 4,
    }


def both(model: bytes, folder: Path, inputs: Arrays, compute: type[np.floating[Any]] = np.float32) -> list[list[Any]]:
    clean, _ = simplify(ir.from_proto(ir.serde.onnx.load_from_string(model)))
    source, out = folder / "m.onnx", folder / "m.mlpackage"
    ir.save(clean, source)
    convert(source, out, CoremlOptions(), compute)
    theirs = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, inputs)[0]
    return [theirs.tolist(), MilSession(out, arithmetic="float16-storage").run(inputs)["rows"].tolist()]


@pytest.mark.parametrize("attributes", ["", "<center_point_box = 1>"])
def test_rows_are_onnxruntime_s(attributes: str, tmp_path: Path) -> None:
    total = 0
    for seed in range(6):
        (tmp_path / str(seed)).mkdir()
        theirs, ours = both(detector(FIXED, "", attributes), tmp_path / str(seed), drawn(seed))
        assert ours == theirs
        total += len(theirs)
    assert total > 60


def test_limits_that_are_computed(tmp_path: Path) -> None:
    model = detector("", ", int64[1] most, float[1] overlap, float[1] lowest")
    limits = {"most": np.array([2]), "overlap": np.array([0.5], np.float32), "lowest": np.array([0.4], np.float32)}
    theirs, ours = both(model, tmp_path, drawn(1) | limits)
    assert ours == theirs
    limits["most"] = np.array([0])
    assert MilSession(tmp_path / "m.mlpackage").run(drawn(1) | limits)["rows"].shape == (0, 3)


def test_choice_stays_float32_and_nothing_overlaps_a_score_too_low(tmp_path: Path) -> None:
    """Sides that float16 would round to equal ones."""
    inputs = drawn(3)
    inputs["boxes"] = inputs["boxes"] * 2 + 2048 + np.float32(0.25)
    theirs, ours = both(detector(FIXED, ""), tmp_path, inputs, np.float16)
    assert ours == theirs
    high = {"scores": np.zeros((2, 3, 12), np.float32)}
    assert MilSession(tmp_path / "m.mlpackage").run(inputs | high)["rows"].shape == (0, 3)


def test_boxes_are_picked_by_the_rows(tmp_path: Path) -> None:
    tail = """pair = Gather <axis = 1> (found, ends)
        picked = GatherND (boxes, pair)
        rows = Mul (picked, twice)"""
    constants = FIXED + ", int64[2] ends = {0, 2}, float twice = {2}"
    theirs, ours = both(detector(constants, "", tail=tail), tmp_path, drawn(4))
    assert ours == theirs
    assert len(theirs) > 5
    assert "while_loop" in op_types(tmp_path / "m.mlpackage")


def test_what_needs_a_length_is_refused(tmp_path: Path) -> None:
    tail = "picked = GatherND (boxes, found) sorted, at = TopK <axis = 0> (picked, k) rows = Identity (sorted)"
    with pytest.raises(UnsupportedOps) as caught:
        both(detector(FIXED + ", int64[1] k = {2}", "", tail=tail), tmp_path, drawn(4))
    assert "known only when it runs" in caught.value.missing["TopK"][0]


def test_no_box_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOps) as caught:
        both(detector(FIXED.replace("{5}", "{0}"), ""), tmp_path, drawn(4))
    assert caught.value.missing["NonMaxSuppression"][0] == "it keeps no box: give max_output_boxes_per_class"
