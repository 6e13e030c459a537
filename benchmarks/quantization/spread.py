"""A depthwise network made hard without changing its function: scales spread by 100× between channels.

Channel c of a convolution is multiplied by s_c and the next convolution divides by it, as trained batch norms can leave
a network (Nagel et al. 2019, arXiv 1906.04721, figure 2). One grid for a whole tensor then has no room for the small
channels. Across a ReLU6 no factor can be moved, so there are two variants: `linear` spreads where no ReLU6 stands
between, `relu` replaces each ReLU6 by a ReLU first and spreads everywhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgewright.benchmarks.quantization.metrics import Array, accuracy, snr_db
from edgewright.benchmarks.quantization.networks import Network, diverged, quantized_afresh, trained, write_data
from edgewright.benchmarks.quantization.quantize_peers import by_ai_edge_quantizer, by_onnxruntime
from edgewright.benchmarks.quantization.runners import ONNX_RUNNERS, TFLITE_RUNNERS
from edgewright.benchmarks.quantization.table import Bar, Cell, Row, Table, number
from edgewright.errors import BadInput

if TYPE_CHECKING:
    import onnx

Variant = Literal["linear", "relu"]
DECADES = 1.0
"""Factors lie in 10^-1 … 10^1."""

MOST_DROP_POINTS = 1.0
CALIBRATION, TEST = 256, 2000
OURS, PEERS = ("int8.onnx", "int8.tflite"), ("quantize_static.onnx", "ai_edge_quantizer.tflite")
BETWEEN = ("Relu", "MaxPool")
"""Operators that commute with a positive factor of each channel."""


def measure(out: Path, names: Sequence[Variant] = ("linear", "relu")) -> Table:
    """A network that a conversion refuses (its answers diverge) stands as a row that says so, and misses its bar."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for variant in names:
        try:
            found = compare(spread_network(variant, out))
        except BadInput as refusal:
            rows.append({"variant": variant, "refused": diverged(refusal)})
            bars.append(Bar(f"{variant}: drop in points", float("nan"), MOST_DROP_POINTS, at_most=True))
            continue
        rows += [dict[str, Cell](variant=variant) | row for row in found]
        bars += [
            Bar(f"{variant} {row['file']}: drop in points", number(row["drop"]), MOST_DROP_POINTS, at_most=True)
            for row in found
            if row["file"] in OURS
        ]
    return Table("StudentNet with scales spread by 100× between channels", rows, bars)


def spread_network(variant: Variant, out: Path) -> Network:
    import onnx

    origin, folder = trained("studentnet", out), out / "spread" / variant
    parts = origin.part("calibration").first(CALIBRATION), origin.part("test").first(TEST)
    data = write_data(folder / "data.npz", *parts)
    model = onnx.load(origin.file("float32.onnx"))
    if variant == "relu":
        without_upper_bounds(model)
    spread(model, seed=0)
    onnx.save(model, folder / "spread.onnx")
    return quantized_afresh(f"spread-{variant}", str(folder / "spread.onnx"), data, folder)


def compare(network: Network) -> list[Row]:
    """Accuracy in %, drop against float32 in points, SNR in dB: our files and the peers'."""
    calibration, test = network.part("calibration"), network.part("test")
    assert test.labels is not None
    float32 = network.file("float32.onnx")
    by_onnxruntime(float32, network.file("quantize_static.onnx"), calibration, "MinMax")
    by_ai_edge_quantizer(network.file("float32.tflite"), network.file("ai_edge_quantizer.tflite"), calibration)
    reference = next(iter(ONNX_RUNNERS["onnxruntime x86"](float32, test).values()))
    before = 100 * accuracy(reference, test.labels)
    rows: list[Row] = []
    for file in (*OURS, *PEERS):
        run = ONNX_RUNNERS["onnxruntime x86"] if file.endswith(".onnx") else TFLITE_RUNNERS["LiteRT + XNNPACK"]
        answer = next(iter(run(network.file(file), test).values()))
        after = 100 * accuracy(answer, test.labels)
        row: Row = {"file": file, "float32 %": before, "int8 %": after, "drop": before - after}
        rows.append({**row, "SNR dB": snr_db(reference, answer)})
    return rows


def without_upper_bounds(model: "onnx.ModelProto") -> None:
    """Clip(x, 0, 6) → Relu(x), in place: another function, with which float and int8 are both measured."""
    for node in model.graph.node:
        if node.op_type == "Clip":
            node.op_type = "Relu"
            del node.input[1:]


def spread(model: "onnx.ModelProto", seed: int) -> int:
    """Give every convolution that another reads through `BETWEEN` alone new factors, in place; how many there were."""
    import onnx

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    generator = np.random.default_rng(seed)
    count = 0
    for node in model.graph.node:
        reader = next_convolution(model, node) if node.op_type == "Conv" else None
        if reader is None:
            continue
        channels = constants[node.input[1]].dims[0]
        factors = (10.0 ** generator.uniform(-DECADES, DECADES, channels)).astype(np.float32)
        for name in node.input[1:]:
            _scale(constants[name], factors, 0)
        depthwise = any(field.name == "group" and field.i > 1 for field in reader.attribute)
        _scale(constants[reader.input[1]], 1 / factors, 0 if depthwise else 1)
        count += 1
    onnx.checker.check_model(model)
    return count


def next_convolution(model: "onnx.ModelProto", node: "onnx.NodeProto") -> "onnx.NodeProto | None":
    """The one convolution that reads what `node` gives, through `BETWEEN` alone."""
    readers: list[onnx.NodeProto] = [other for other in model.graph.node if node.output[0] in other.input]
    if len(readers) != 1 or readers[0].op_type not in (*BETWEEN, "Conv"):
        return None
    return readers[0] if readers[0].op_type == "Conv" else next_convolution(model, readers[0])


def _scale(tensor: "onnx.TensorProto", factors: Array, axis: int) -> None:
    import onnx

    array = onnx.numpy_helper.to_array(tensor)
    along = [1] * array.ndim
    along[axis] = -1
    tensor.CopyFrom(onnx.numpy_helper.from_array(array * factors.reshape(along), tensor.name))
