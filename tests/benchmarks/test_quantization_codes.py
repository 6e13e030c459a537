"""Operator by operator, on the int8 truth of small networks and its TFLite file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgewright.benchmarks.quantization.agreement import answers, compare, output_step
from edgewright.benchmarks.quantization.codes import one_step_models, reference_codes
from edgewright.benchmarks.quantization.networks import Network
from edgewright.benchmarks.quantization.one_op import INTERPRETERS, alone, data_inputs, kind_of
from edgewright.benchmarks.quantization.op_by_op import op_by_op, summary
from edgewright.benchmarks.quantization.quantize_peers import by_onnxruntime
from edgewright.benchmarks.quantization.runners import as_written, ort_session
from edgewright.benchmarks.quantization.spread import next_convolution, spread, without_upper_bounds
from edgewright.data import Samples
from edgewright.export.steps import Job, steps
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.tflite_view import open_tflite

Arrays = Mapping[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def network(
    clean_models: Mapping[str, Path], int8_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Network:
    """The student network: depthwise and pointwise convolutions, max pools, a global pool, a linear layer."""
    folder = tmp_path_factory.mktemp("student")
    for name, source in (("float32.onnx", clean_models), ("int8.onnx", int8_models)):
        (folder / name).write_bytes(source["student_net"].read_bytes())
    lower = next(step for step in steps() if str(step.target) == "tflite:int8")
    lower.function(artifact_at(folder / "int8.onnx"), folder / "int8.tflite", Job(), lower.options())
    return Network("studentnet", folder, folder / "none.npz")


@pytest.fixture(scope="module")
def samples(probes: Arrays) -> Samples:
    return Samples({"input": probes["student_net"]})


def test_each_step_of_the_reference_follows_from_its_codes(network: Network, samples: Samples) -> None:
    codes = reference_codes(network.file("int8.onnx"), samples)
    found = one_step_models(network.file("int8.onnx"), codes)
    assert {step.kind for step in found} >= {"Conv", "MaxPool", "GlobalAveragePool", "Gemm"}
    assert len(found) == len(codes) - 1  # all but the input's
    for step in found:
        session = ort_session(step.model, optimized=False)
        answer = session.run(None, {name: codes[name][3] for name in step.reads})[0]
        assert np.array_equal(answer, codes[step.gives][3]), step


def test_every_operator_answers_within_a_step_in_every_runtime(network: Network, samples: Samples) -> None:
    found = op_by_op(network.file("int8.onnx"), network.file("int8.tflite"), samples)
    assert not [difference for difference in found if difference.refused]
    assert max(int(difference.steps.max()) for difference in found) == 1
    rows = summary("student", found)
    assert {row["runtime"] for row in rows} == {*INTERPRETERS, "onnxruntime x86"}
    convolutions = next(row for row in rows if row["runtime"] == "tflite-micro" and row["op"] == "DEPTHWISE_CONV_2D")
    assert convolutions["ops"] == 7


def test_a_wrong_bias_in_the_file_is_found_at_its_operator(network: Network, samples: Samples, tmp_path: Path) -> None:
    """The first convolution's bias, moved by five output steps."""
    import flatbuffers

    source = network.file("int8.tflite")
    model = schema.ModelT.InitFromPackedBuf(source.read_bytes(), 0)
    graph = model.subgraphs[0]
    kinds = [kind_of(operator) for operator in open_tflite(source).main.operators]
    operator = graph.operators[kinds.index("CONV_2D")]
    x, bias, y = (graph.tensors[index] for index in (operator.inputs[0], operator.inputs[2], operator.outputs[0]))
    steps_of_bias = y.quantization.scale[0] / bias.quantization.scale
    assert x.quantization.scale[0] > 0
    content = np.frombuffer(bytes(bytearray(model.buffers[bias.buffer].data)), np.int32)
    model.buffers[bias.buffer].data = (content + np.rint(5 * steps_of_bias)).astype(np.int32).view(np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "wrong.tflite").write_bytes(bytes(builder.Output()))

    found = op_by_op(network.file("int8.onnx"), tmp_path / "wrong.tflite", samples)
    wrong = {(difference.kind, difference.tensor) for difference in found if difference.steps.max() > 1}
    assert wrong == {("CONV_2D", y.name.decode())}


def test_one_operator_alone_answers_as_it_does_in_its_file(network: Network, samples: Samples) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = network.file("int8.tflite")
    view = open_tflite(path)
    whole = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    whole.allocate_tensors()
    whole.set_tensor(view.inputs["input"], samples.inputs["input"][:1])
    whole.invoke()
    for position, operator in enumerate(view.main.operators):
        call = INTERPRETERS["LiteRT builtin"](alone(path, view, position))
        answer = call([whole.get_tensor(index) for index in data_inputs(view, operator)])
        assert np.array_equal(answer[0], whole.get_tensor(operator.outputs[0])), kind_of(operator)


def test_end_to_end_rows_are_against_the_reference(network: Network, samples: Samples) -> None:
    found = answers(network, samples)
    rows = compare(network, found, samples)
    assert rows["onnxruntime as written"]["equal %"] == 100
    assert rows["onnxruntime as written"]["SNR dB"] == pytest.approx(
        snr_db(as_written(network.file("float32.onnx"), samples)["output"], found["onnxruntime as written"]), abs=1e-3
    )
    step = output_step(network.file("int8.onnx"))
    shifted = found | {"LiteRT + XNNPACK": found["onnxruntime as written"] + np.float32(2 * step)}
    moved = compare(network, shifted, samples)["LiteRT + XNNPACK"]
    assert (moved["max steps"], moved["within a step %"]) == (2, 0)


def test_quantize_static_reads_every_sample_and_gives_int8(network: Network, samples: Samples, tmp_path: Path) -> None:
    by_onnxruntime(network.file("float32.onnx"), tmp_path / "peer.onnx", samples, "MinMax")
    weights = [t for t in onnx.load(tmp_path / "peer.onnx").graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert sum(len(t.dims) == 4 for t in weights) == 15
    reference = as_written(network.file("float32.onnx"), samples)["output"]
    assert 10 < snr_db(reference, as_written(tmp_path / "peer.onnx", samples)["output"]) < 60


@pytest.mark.parametrize("bounded", [True, False])
def test_spread_scales_leave_the_function_as_it_is(
    clean_models: Mapping[str, Path], samples: Samples, tmp_path: Path, bounded: bool
) -> None:
    model = onnx.load(clean_models["student_net"])
    if not bounded:
        without_upper_bounds(model)
    onnx.save(model, tmp_path / "before.onnx")
    before = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = sum(node.op_type == "Conv" and next_convolution(model, node) is not None for node in model.graph.node)
    assert spread(model, seed=0) == pairs == (6 if bounded else 14)
    onnx.save(model, tmp_path / "after.onnx")
    reference, answer = (as_written(tmp_path / name, samples)["output"] for name in ("before.onnx", "after.onnx"))
    assert snr_db(reference, answer) > 100
    pointwise = next(
        node for node in model.graph.node if node.op_type == "Conv" and next_convolution(model, node) is not None
    )
    after = next(t for t in model.graph.initializer if t.name == pointwise.input[1])
    ratio = np.abs(onnx.numpy_helper.to_array(after)).max((1, 2, 3)) / np.abs(before[after.name]).max((1, 2, 3))
    assert ratio.max() / ratio.min() > 30
