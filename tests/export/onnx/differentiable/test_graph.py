"""The differentiable graph against onnxruntime; gradients against differences; weights written back."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnxscript import FLOAT, script
from onnxscript import opset21 as op

from edgewright.data import Samples
from edgewright.errors import UnsupportedOps
from edgewright.export.onnx.differentiable.descent import answers_of, descend, distance, shuffled
from edgewright.export.onnx.differentiable.encoded import encoded
from edgewright.export.onnx.differentiable.graph import TorchGraph, stacked
from edgewright.export.onnx.differentiable.ops.quantize import rounded
from edgewright.export.onnx.differentiable.write_back import write_back
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.quantize.calibrate import batches, open_session
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.quantized import Quantized, answers
from edgewright.export.onnx.quantize.truth import make_truth
from edgewright.export.steps import Job
from edgewright.export.verify import snr_db
from edgewright.runtimes.contract import Contract, TensorInfo
from tests.models import NETWORKS, samples

UNTOUCHED = {"watch_cnn": 7, "student_net": 5, "mobilenet_v2": 5, "resnet18": 6, "efficientnet_lite0": 2}
"""Of 8 samples, those without one flipped code before the mean; in deep networks a flip travels far."""


def truth_of(path, name: str) -> tuple[Quantized, Contract]:
    model = load_onnx(path)
    contract = contract_of(model)
    job = Job(calibration=Samples({"input": samples(name, 16, seed=1).numpy()}))
    options = QuantizeOptions("minmax", equalize=False, correct_bias=False)
    return make_truth(model, contract, job, options, name).quantized, contract


@pytest.mark.parametrize("name", NETWORKS)
def test_a_float_graph_answers_as_onnxruntime(name, clean_models, probes):
    model = load_onnx(clean_models[name])
    contract, data = contract_of(model), Samples({"input": probes[name]})
    given = answers_of(TorchGraph(model, {}), stacked(contract, data))["output"].flatten(0, 1)
    assert snr_db(answers(model, contract, data)[0], given.numpy()) > 100


@pytest.mark.parametrize("name", NETWORKS)
def test_a_truth_gives_onnxruntimes_codes_tensor_by_tensor(name, clean_models, probes):
    """Sums of another order break ties otherwise, here and there in a layer and often in a mean of whole numbers."""
    quantized, contract = truth_of(clean_models[name], name)
    graph = TorchGraph(quantized.model, quantized.masters)
    codes = [str(node.outputs[0].name) for node in quantized.model.graph if node.op_type == "QuantizeLinear"]
    session = open_session(quantized.model, codes, optimize=False)
    data = Samples({"input": probes[name]})
    wanted = [dict(zip(codes, session.run(codes, batch), strict=True)) for batch in batches(contract, data)]
    with torch.no_grad():
        given = graph.run(stacked(contract, data), codes)
    apart = {key: np.abs(given[key].numpy() - np.stack([call[key] for call in wanted])) for key in codes}
    before_mean = codes[: next(i for i, key in enumerate(codes) if "mean" in key)]
    flips = sum((apart[key].reshape(len(wanted), -1) > 0).sum(1) for key in before_mean)
    untouched = [call for call, count in enumerate(flips) if count == 0]
    assert len(untouched) >= UNTOUCHED[name], flips
    assert max(float(apart[key][untouched].max()) for key in codes) <= 3


def test_codes_of_one_layer_are_onnxruntimes_bit_for_bit():
    """Halves round to even, the grid saturates."""
    scale, zero = np.array(0.25, np.float32), np.array(-3, np.int8)
    model = one_pair(scale, zero)
    x = np.linspace(-40, 40, 641, dtype=np.float32)[None]
    (wanted,) = open_session(model, optimize=False).run(None, {"x": x})
    given = TorchGraph(model, {}).walk({"x": torch.from_numpy(x)})["y"]
    assert np.array_equal(given.numpy(), wanted)


def test_the_gradient_passes_the_rounding_and_stops_where_the_grid_saturates():
    model = one_pair(np.array(0.25, np.float32), np.array(0, np.int8))
    x = torch.tensor([[-50.0, -1.1, 0.3, 50.0]], requires_grad=True)
    TorchGraph(model, {}).walk({"x": x})["y"].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]


def test_rounded_is_exact_for_every_size_of_number():
    x = torch.cat([torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 10.0**e for e in range(-6, 9)])
    assert rounded(x).equal(x.round())


def test_untrained_weights_write_back_as_the_same_file(clean_models):
    quantized, _ = truth_of(clean_models["mobilenet_v2"], "mobilenet_v2")
    graph = TorchGraph(quantized.model, quantized.masters)
    again = write_back(graph, quantized).model
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(quantized.model).SerializeToString()


def test_codes_that_are_not_the_nearest_are_where_training_starts(clean_models):
    quantized, _ = truth_of(clean_models["watch_cnn"], "watch_cnn")
    name = next(iter(quantized.masters))
    shifted = quantized.masters[name] + 3 * np.abs(quantized.masters[name]).max() / 127
    graph = TorchGraph(quantized.model, {**quantized.masters, name: shifted})
    before = quantized.model.graph.initializers[name].const_value.numpy()
    assert np.array_equal(graph.weights[name].codes().detach().numpy(), before)


def test_training_moves_integers_only_and_answers_as_the_graph_that_was_trained(clean_models):
    quantized, contract = truth_of(clean_models["watch_cnn"], "watch_cnn")
    model = load_onnx(clean_models["watch_cnn"])
    graph = TorchGraph(quantized.model, quantized.masters)
    inputs = stacked(contract, Samples({"input": samples("watch_cnn", 16).numpy()}))
    targets = answers_of(TorchGraph(model, {}), inputs)
    rows = torch.arange(16)
    before = float(distance(targets)(answers_of(graph, inputs), rows))
    for _ in descend(graph, inputs, distance(targets), shuffled(16, 8, 40, seed=0), 0.02):
        pass
    after = float(distance(targets)(answers_of(graph, inputs), rows))
    assert after < 0.9 * before
    trained = write_back(graph, quantized).model
    old, new = (m.graph.initializers for m in (quantized.model, trained))
    changed = {key for key in old if not np.array_equal(old[key].const_value.numpy(), new[key].const_value.numpy())}
    assert changed and changed <= set(quantized.masters)
    assert (
        snr_db(
            answers(trained, contract, Samples({"input": inputs["input"].flatten(0, 1).numpy()}))[0],
            answers_of(graph, inputs)["output"].flatten(0, 1).numpy(),
        )
        > 34
    )


def test_weights_of_seven_bits_keep_to_them():
    weight = np.linspace(-1, 1, 9, dtype=np.float32)[None]
    scale = np.array([1 / 64], np.float32)
    codes = np.rint(weight / scale).astype(np.int8)
    value = dequantized(codes, scale)
    assert encoded(value, weight).limit == 64
    assert replace(encoded(value, weight), shift=torch.full((1, 9), 5.0)).codes().max() == 64


def test_calls_are_mapped_over_so_a_reshape_may_hold_the_batch():
    """[1, 4, 6] → [4, 6] → …: with joined batches this graph would mix samples."""

    @script()
    def attend(x: FLOAT[1, 4, 6]) -> FLOAT[4, 4]:
        rows = op.Reshape(x, op.Constant(value_ints=[4, 6]))
        return op.Softmax(op.MatMul(rows, op.Transpose(rows, perm=[1, 0])), axis=1)

    model = ir.from_proto(attend.to_model_proto())
    contract = Contract((TensorInfo("x", (1, 4, 6)),), (TensorInfo(model.graph.outputs[0].name, (4, 4)),))
    data = Samples({"x": np.random.default_rng(0).standard_normal((5, 4, 6)).astype(np.float32)})
    given = next(iter(answers_of(TorchGraph(model, {}), stacked(contract, data)).values()))
    assert given.shape == (5, 4, 4)
    assert snr_db(answers(model, contract, data)[0].reshape(5, 4, 4), given.numpy()) > 100


def test_operators_without_a_rule_are_listed_at_once():
    x = ir.val("x", ir.DataType.FLOAT, ir.Shape([1, 4]))
    first = ir.node("Det", [x], num_outputs=1, name="det")
    second = ir.node("NonZero", [x], num_outputs=1, name="nonzero")
    graph = ir.Graph([x], [first.outputs[0], second.outputs[0]], nodes=[first, second], opset_imports={"": 21})
    with pytest.raises(UnsupportedOps, match=r"^training .*learned rounding") as refusal:
        TorchGraph(ir.Model(graph, ir_version=10), {})
    assert set(refusal.value.missing) == {"Det", "NonZero"}


def one_pair(scale, zero) -> ir.Model:
    """x [1, n] → Q → DQ → y."""
    x = ir.val("x", ir.DataType.FLOAT, ir.Shape([1, None]))
    constants = [ir.val("scale", const_value=ir.tensor(scale, name="scale"))]
    constants.append(ir.val("zero", const_value=ir.tensor(zero, name="zero")))
    codes = ir.node("QuantizeLinear", [x, *constants], num_outputs=1)
    real = ir.node("DequantizeLinear", [codes.outputs[0], *constants], num_outputs=1)
    real.outputs[0].name, codes.outputs[0].name = "y", "codes"
    real.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x], real.outputs, nodes=[codes, real], initializers=constants, opset_imports={"": 21}, name="pair"
    )
    return ir.Model(graph, ir_version=10)


def dequantized(codes, scale) -> ir.Value:
    """The initializer of `codes`, with a DequantizeLinear along axis 0 that reads it."""
    value = ir.val("w_int8", const_value=ir.tensor(codes, name="w_int8"))
    ir.node("DequantizeLinear", [value, ir.val("s", const_value=ir.tensor(scale, name="s"))], attributes={"axis": 0})
    return value
