"""LSTM, GRU and RNN: one product for all steps, a compact WHILE for the state, in every form that ONNX knows."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tflite_micro.python.tflite_micro import runtime as micro

from edgewright.devices.spec import Precision
from edgewright.export.capture import capture_module
from edgewright.export.onnx.quantize.weight_only import store_recurrent
from edgewright.export.onnx.simplify import simplify
from edgewright.export.tflite.convert import Converted, convert
from edgewright.export.verify import snr_db
from edgewright.runtimes.read import read

from .conftest import Answer

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
RUNTIMES = ("xnnpack", "builtin", "legacy")
STEPS, BATCH, INPUTS, HIDDEN = 12, 2, 3, 4


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def model_of(
    op: str,
    *,
    steps: int = STEPS,
    batch: int = BATCH,
    optional: tuple[str, ...] = (),
    outputs: tuple[str, ...] = ("Y", "Y_h", "Y_c"),
    lengths: tuple[int, ...] | None = None,
    **given: Any,
) -> onnx.ModelProto:
    """One operator; `optional` names its optional operands B, H (initial_h), C (initial_c) and P."""
    sides = 2 if given.get("direction") == "bidirectional" else 1
    gates = GATES[op] * HIDDEN
    batch_first = bool(given.get("layout"))
    state = (batch, sides, HIDDEN) if batch_first else (sides, batch, HIDDEN)
    shapes = {
        "W": (sides, gates, INPUTS), "R": (sides, gates, HIDDEN), "B": (sides, 2 * gates), "H": state, "C": state,
        "P": (sides, 3 * HIDDEN),
    }  # fmt: skip
    constants = {name: normal(*shapes[name], seed=ord(name)) / 2 for name in ("W", "R", *optional) if name not in "HC"}
    if lengths is not None:
        constants["L"] = np.array(lengths, np.int32)
    names = ["X", "W", "R", "B", "L", "H", "C", "P"][: 8 if op == "LSTM" else 6]
    here = [name if name in ("X", *constants, *optional) else "" for name in names]
    made = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(
        op, here, [y if y in outputs else "" for y in made], op.lower(), hidden_size=HIDDEN, **given
    )
    y = (batch, steps, sides, HIDDEN) if batch_first else (steps, sides, batch, HIDDEN)
    x = (batch, steps, INPUTS) if batch_first else (steps, batch, INPUTS)
    graph = helper.make_graph(
        [node],
        "recurrent",
        [
            helper.make_tensor_value_info("X", 1, x),
            *(helper.make_tensor_value_info(k, 1, state) for k in optional if k in "HC"),
        ],
        [helper.make_tensor_value_info(name, 1, y if name == "Y" else state) for name in made if name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def answers(model: onnx.ModelProto, inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    made: list[NDArray[np.float32]] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    return made


def samples(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    return {name: normal(*shape, seed=7) for name, shape in shapes.items()}


def check(run: Answer, model: onnx.ModelProto, tolerance: float = 2e-6) -> Converted:
    """Three runtimes, two calls each: nothing is left over from a call."""
    inputs = samples(model)
    wanted = answers(model, inputs)
    converted = convert(ir.from_proto(model))
    for runtime in RUNTIMES:
        for _ in range(2):
            given = run(converted.content, inputs, runtime)
            for value, array in zip(model.graph.output, wanted, strict=True):
                np.testing.assert_allclose(given[value.name], array, rtol=0, atol=tolerance, err_msg=runtime)
    return converted


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_directions_with_bias_and_initial_states(op: str, direction: str, run: Answer) -> None:
    states = ("H", "C") if op == "LSTM" else ("H",)
    converted = check(run, model_of(op, direction=direction, optional=("B", *states)))
    loops = Counter(op.code for op in converted.ops)["WHILE"]
    assert loops == (2 if direction == "bidirectional" else 1)


@pytest.mark.parametrize(
    ("op", "optional", "given"),
    [
        ("LSTM", ("P", "B"), {}),
        ("LSTM", ("P",), {"direction": "bidirectional"}),
        ("LSTM", ("B",), {"input_forget": 1}),
        ("LSTM", ("B",), {"clip": 0.3}),
        ("LSTM", ("B", "P"), {"clip": 0.3, "direction": "reverse"}),
        ("LSTM", (), {"activations": ["HardSigmoid", "Softsign", "Relu"]}),
        ("LSTM", (), {"activations": ["HardSigmoid", "ScaledTanh", "LeakyRelu"],
                      "activation_alpha": [0.3, 1.1, 0.2], "activation_beta": [0.4, 0.9]}),
        ("GRU", ("B", "H"), {"linear_before_reset": 1}),
        ("GRU", (), {"linear_before_reset": 1, "direction": "bidirectional"}),
        ("GRU", ("B",), {"clip": 0.2}),
        ("GRU", ("B",), {"activations": ["Sigmoid", "Softplus"]}),
        ("RNN", ("B",), {"activations": ["Relu"]}),
        ("RNN", ("B",), {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}),
        ("RNN", ("B",), {"activations": ["Elu", "ThresholdedRelu"], "activation_alpha": [0.7, 0.1],
                         "direction": "bidirectional"}),
        ("RNN", ("B",), {"clip": 0.5}),
    ],
)  # fmt: skip
def test_attributes(op: str, optional: tuple[str, ...], given: dict[str, Any], run: Answer) -> None:
    check(run, model_of(op, optional=optional, **given))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_sequences_of_different_lengths(op: str, direction: str, run: Answer) -> None:
    converted = check(run, model_of(op, lengths=(5, STEPS), direction=direction, optional=("B", "H")))
    assert "SELECT_V2" in Counter(op.code for op in converted.ops)
    full = convert(ir.from_proto(model_of(op, lengths=(STEPS, STEPS))))
    assert "SELECT_V2" not in Counter(op.code for op in full.ops)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("outputs", [("Y",), ("Y_h",), ("Y_c",), ("Y", "Y_c"), ("Y_h", "Y_c")])
def test_any_outputs(op: str, outputs: tuple[str, ...], run: Answer) -> None:
    if op != "LSTM":
        outputs = tuple(name for name in outputs if name != "Y_c") or ("Y", "Y_h")
    converted = check(run, model_of(op, outputs=outputs, direction="bidirectional"))
    codes = Counter(op.code for op in converted.ops)
    assert codes["DYNAMIC_UPDATE_SLICE"] == (2 if "Y" in outputs else 0)


@pytest.mark.parametrize("op", GATES)
def test_batch_first(op: str, run: Answer) -> None:
    """onnxruntime has no layout 1: the same network with transposed ends is what it must equal."""
    first = model_of(op, layout=1, direction="bidirectional", optional=("B", "H"))
    inputs = samples(first)
    turned = {name: array.transpose(1, 0, 2).copy() for name, array in inputs.items()}
    y, h, *_ = answers(model_of(op, direction="bidirectional", optional=("B", "H")), turned)
    converted = convert(ir.from_proto(first))
    given = run(converted.content, inputs, "xnnpack")
    np.testing.assert_allclose(given["Y"], y.transpose(2, 0, 1, 3), atol=2e-6)
    np.testing.assert_allclose(given["Y_h"], h.transpose(1, 0, 2), atol=2e-6)


@pytest.mark.parametrize(
    ("tail", "shape", "read"),
    [
        ("i = Constant<value_int=-1>() y = Gather<axis=0>(s, i)", "1,2,4", True),
        ("t = Transpose<perm=[2,0,1,3]>(s) i = Constant<value_int=11>() y = Gather<axis=1>(t, i)", "2,1,4", True),
        ("""k = Constant<value_ints=[12,8]>() t = Reshape(s, k) a = Constant<value_ints=[-1]>()
            e = Constant<value_ints=[99]>() z = Constant<value_ints=[0]>() y = Slice(t, a, e, z)""", "1,8", True),
        ("t = Transpose<perm=[0,1,3,2]>(s) i = Constant<value_int=-1>() y = Gather<axis=0>(t, i)", "1,4,2", False),
        ("i = Constant<value_int=3>() y = Gather<axis=0>(s, i)", "1,2,4", False),
    ],
)  # fmt: skip
def test_the_last_step_is_the_last_state(tail: str, shape: str, read: bool, run: Answer) -> None:
    text = f"""<ir_version: 10, opset_import: ["": 21]> g (float[12,2,3] X) => (float[{shape}] y)
        <float[1,16,3] W, float[1,16,4] R> {{ s, h = LSTM<hidden_size=4>(X, W, R) {tail} }}"""
    proto = onnx.parser.parse_model(text)
    del proto.graph.initializer[:]
    weights = {"W": normal(1, 16, 3), "R": normal(1, 16, 4)}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    wanted = answers(proto, samples(proto))[0]
    model, counts = simplify(ir.from_proto(proto))
    assert counts["read_last_state"] == read
    converted = convert(model)
    assert ("DYNAMIC_UPDATE_SLICE" in {op.code for op in converted.ops}) == (not read)
    for runtime in RUNTIMES:
        np.testing.assert_allclose(run(converted.content, samples(proto), runtime)["y"], wanted, atol=1e-6)


def test_short_sequences_are_plain_operators(run: Answer) -> None:
    for op in GATES:
        for steps in (1, 3):
            codes = Counter(op.code for op in check(run, model_of(op, steps=steps, batch=1, optional=("B", "H"))).ops)
            assert not codes.keys() & {"WHILE", "DYNAMIC_UPDATE_SLICE", "GATHER", "TRANSPOSE"}
            assert codes["FULLY_CONNECTED"] == 1 + steps * (2 if op == "GRU" else 1)


@pytest.mark.parametrize("op", GATES)
def test_the_loop_multiplies_the_state_alone(op: str) -> None:
    """The weights of the input lie outside of the body, each constant is stored once, and the counter is small."""
    short, long = (convert(ir.from_proto(model_of(op, steps=n, batch=1, optional=("B",)))) for n in (20, 200))
    assert [op.code for op in short.ops] == [op.code for op in long.ops]
    assert len(long.content) - len(short.content) < 64
    assert Counter(op.code for op in long.ops)["FULLY_CONNECTED"] == 1 + 4 * (
        2 if op == "GRU" else 1
    )  # four steps a pass


@pytest.mark.parametrize("op", GATES)
def test_the_file_tells_the_work_of_its_loop(op: str, tmp_path: Path) -> None:
    """As many MACs and int8 weights as the ONNX operator has; only biases differ."""
    model = ir.from_proto(model_of(op, steps=30))
    store_recurrent(model)
    ir.save(model, tmp_path / "m.onnx")
    (tmp_path / "m.tflite").write_bytes(convert(model).content)
    source, file = read(tmp_path / "m.onnx"), read(tmp_path / "m.tflite")
    assert file.macs == source.macs
    assert file.precision is source.precision is Precision.INT8_WEIGHTS
    assert [row.kind for row in file.ops if row.op_type == "WHILE"] == ["recurrent"]
    assert 0 <= file.parameter_bytes - source.parameter_bytes < 500


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_a_state_kept_by_the_caller_streams(op: str, run: Answer) -> None:
    """One step a call, the state an input and an output: T calls give what T steps in one give."""
    steps = 9
    states = {"H": "Y_h", "C": "Y_c"} if op == "LSTM" else {"H": "Y_h"}
    whole = model_of(op, steps=steps, batch=1, optional=("B", *states))
    inputs = samples(whole)
    y, *last = answers(whole, inputs)
    step = convert(ir.from_proto(model_of(op, steps=1, batch=1, optional=("B", *states))))
    held = {name: inputs[name] for name in states}
    for number in range(steps):
        given = run(step.content, {"X": inputs["X"][number : number + 1], **held}, "xnnpack")
        np.testing.assert_allclose(given["Y"][0], y[number], atol=1e-6)
        held = {name: given[output] for name, output in states.items()}
    for name, array in zip(states, last):
        np.testing.assert_allclose(held[name], array, atol=1e-6)


@pytest.mark.parametrize("op", GATES)
def test_int8_weights_stay_int8(op: str, run: Answer) -> None:
    """With a DEQUANTIZE each, also in the body, whose steps share it; one scale a row of each direction."""
    model = ir.from_proto(model_of(op, direction="bidirectional", optional=("B",)))
    assert store_recurrent(model) == ["W", "R"]
    proto = ir.to_proto(model)
    codes = {v.const_value.numpy().tobytes() for v in model.graph.initializers.values() if v.dtype == ir.DataType.INT8}  # type: ignore[union-attr]
    converted = check(run, proto)
    constants = [t for op in converted.ops for t in op.inputs if t is not None and t.data is not None]
    stored = b"".join(sorted({t.data.tobytes() for t in constants if t.is_int8}))  # type: ignore[union-attr]
    assert len(stored) <= sum(map(len, codes))
    assert not any(t.data.any() for t in constants if t.dtype == np.float32 and len(t.shape) > 1)  # type: ignore[union-attr]
    assert Counter(op.code for op in converted.ops)["DEQUANTIZE"] == (6 if op == "GRU" else 4)


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
def test_a_loop_multiplies_int8_weights(op: str, run: Answer) -> None:
    """As convolutions, in every runtime; around the loop arithmetic stays float."""
    model = ir.from_proto(model_of(op, steps=24, batch=1, optional=("B",)))
    store_recurrent(model)
    proto = ir.to_proto(model)
    inputs = samples(proto)
    exact, loops = convert(ir.from_proto(proto)), convert(ir.from_proto(proto), dynamic_inside=True)
    counts = Counter(op.code for op in loops.ops)
    assert (counts["CONV_2D"], counts["FULLY_CONNECTED"]) == (8 if op == "GRU" else 4, 1)
    for runtime in RUNTIMES:
        wanted, found = (run(made.content, inputs, runtime) for made in (exact, loops))
        assert min(snr_db(wanted[name], found[name]) for name in wanted) > 30


def test_the_steps_of_a_pass_are_cut_from_one_row() -> None:
    """Without a RESHAPE for each step."""
    for batch in (1, 3):
        converted = convert(ir.from_proto(model_of("LSTM", steps=24, batch=batch, outputs=("Y_h",))))
        codes = Counter(op.code for op in converted.ops)
        assert codes["RESHAPE"] <= 3


def test_float16_weights(run: Answer) -> None:
    model = model_of("LSTM", optional=("B",))
    inputs = samples(model)
    wanted = answers(model, inputs)[0]
    converted = convert(ir.from_proto(model), half=True)
    for runtime in RUNTIMES:
        assert np.abs(run(converted.content, inputs, runtime)["Y"] - wanted).max() < 1e-3


@pytest.mark.parametrize("op", GATES)
def test_tflite_micro_runs_the_loop(op: str) -> None:
    model = model_of(op, batch=1, optional=("B",), outputs=("Y",), direction="reverse")
    x = samples(model)["X"]
    interpreter = micro.Interpreter.from_bytes(convert(ir.from_proto(model), micro=True).content, arena_size=200_000)
    for _ in range(2):
        interpreter.set_input(x, 0)
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_output(0), answers(model, {"X": x})[0], atol=2e-6)


class Stack(torch.nn.Module):
    """Layers of both kinds, and a head on the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.both_ways = torch.nn.LSTM(6, 8, batch_first=True, bidirectional=True)
        self.layers = torch.nn.GRU(16, 8, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        hidden, _ = self.both_ways(input)
        hidden, _ = self.layers(hidden)
        head: torch.Tensor = self.head(hidden[:, -1])
        return head


def test_layers_of_torch(run: Answer) -> None:
    torch.manual_seed(0)
    module = Stack().eval()
    x = normal(1, 15, 6)
    model, _ = simplify(capture_module(module, {"input": torch.from_numpy(x)}, ["output"]))
    converted = convert(model)
    codes = Counter(op.code for op in converted.ops)
    assert codes["WHILE"] == 4
    assert codes["DYNAMIC_UPDATE_SLICE"] == 3  # of the last layer only the last step is read: its state
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    for runtime in RUNTIMES:
        np.testing.assert_allclose(run(converted.content, {"input": x}, runtime)["output"], wanted, atol=1e-6)
