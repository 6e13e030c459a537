"""TFLite → the neutral op table."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from edgewright.devices.spec import Format
from edgewright.errors import BadModel, MissingExtra
from edgewright.runtimes.contract import CONTRACT_KEY
from edgewright.runtimes.dtypes import dense_bytes, elements
from edgewright.runtimes.flat_table import Corrupt
from edgewright.runtimes.read.fold import decode_constants, folded
from edgewright.runtimes.read.model import HEAVY, Kind, Model, Op, Tensor, macs_per_weight, matmul_macs
from edgewright.runtimes.read.model_metadata import METADATA_KEY, model_metadata
from edgewright.runtimes.read.precision import true_precision
from edgewright.runtimes.tflite_view import TfliteGraph, TfliteOperator, TfliteTensor, open_tflite

OPERATORS: dict[Kind, str] = {
    "conv": "CONV_2D CONV_3D TRANSPOSE_CONV CONV_3D_TRANSPOSE",
    "depthwise_conv": "DEPTHWISE_CONV_2D",
    "linear": "FULLY_CONNECTED",
    "matmul": "BATCH_MATMUL",
    "pool": "AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D",
    "elementwise": "ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE ADD_N ABS NEG EXP LOG SQRT RSQRT SQUARE SIN "
    "COS CEIL FLOOR ROUND FLOOR_DIV FLOOR_MOD SIGN CAST SELECT SELECT_V2 WHERE EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER "
    "GREATER_EQUAL LOGICAL_AND LOGICAL_OR LOGICAL_NOT",
    "activation": "RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU PRELU ELU GELU HARD_SWISH LOGISTIC TANH",
    "reshape": "RESHAPE SQUEEZE EXPAND_DIMS",
    "transpose": "TRANSPOSE",
    "pad": "PAD PADV2 MIRROR_PAD",
    "concat": "CONCATENATION PACK",
    "quantize": "QUANTIZE",
    "dequantize": "DEQUANTIZE DENSIFY",
    "normalization": "L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION",
    "softmax": "SOFTMAX LOG_SOFTMAX",
    "reduce": "MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL ARG_MAX ARG_MIN CUMSUM",
    "gather": "GATHER GATHER_ND EMBEDDING_LOOKUP SLICE STRIDED_SLICE SPLIT SPLIT_V UNPACK",
    "resize": "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR",
}
KINDS: dict[str, Kind] = {op_type: kind for kind, names in OPERATORS.items() for op_type in names.split()}


def read_tflite(path: Path) -> Model:
    """The main graph. Raises BadModel on a damaged file, MissingExtra without a package that names the operators."""
    view = open_tflite(path)
    names = _unique_names(view.main.tensors)
    ops, tensors = _rows(view.graphs, 0, _type_names())
    inputs, outputs = ([names[index] for index in ends] for ends in (view.main.inputs, view.main.outputs))
    neutral, kept = folded(ops, tensors, inputs, outputs, fuse=False)
    return Model(
        format=Format.TFLITE,
        precision=true_precision(neutral, kept),
        ops=tuple(neutral),
        tensors=kept,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        contract=view.contract,
        size_bytes=path.stat().st_size,
        metadata=_metadata(view.metadata, path),
    )


def _metadata(entries: Mapping[str, bytes], path: Path) -> dict[str, str]:
    """Raises BadModel when its TFLite Model Metadata are damaged."""
    found = {key: _text(value) for key, value in entries.items() if key not in (CONTRACT_KEY, METADATA_KEY)}
    try:
        return found | (model_metadata(entries[METADATA_KEY], path) if METADATA_KEY in entries else {})
    except Corrupt as error:
        raise BadModel(f"{path}: damaged TFLite file: {error}") from None


def _rows(
    graphs: tuple[TfliteGraph, ...], number: int, type_names: dict[int, str]
) -> tuple[list[Op], dict[str, Tensor]]:
    """The operators of one graph, and its tensors; what an IF or WHILE runs is told by its own row."""
    graph = graphs[number]
    names = _unique_names(graph.tensors)
    tensors = {name: _tensor(name, tensor) for name, tensor in zip(names, graph.tensors, strict=True)}
    ops = []
    for operator in graph.operators:
        op = _op(operator, names, tensors, type_names)
        deeper = [call for call in operator.calls if call > number]  # a file that calls itself would never end
        for call in deeper:
            inner, held = _rows(graphs, call, type_names)
            op, constants = _with_body(op, decode_constants(inner, held), held, f"{op.name}/{call}/")
            tensors |= constants
        if op.op_type == "WHILE":
            op = replace(op, macs=op.macs * _steps(graphs[operator.calls[0]]))
        ops.append(op)
    return ops, tensors


def _with_body(op: Op, inner: list[Op], held: Mapping[str, Tensor], prefix: str) -> tuple[Op, dict[str, Tensor]]:
    """The MACs of a subgraph join those of the operator that runs it (an IF: the larger), its constants the inputs."""
    heavy = [row for row in inner if row.kind in HEAVY]
    if not heavy:
        return op, {}
    used = dict.fromkeys(name for row in inner for name in row.inputs if held[name].constant)
    constants = {prefix + name: replace(held[name], name=prefix + name) for name in used}
    dtype = max(heavy, key=lambda row: row.macs).compute_dtype
    macs = max(op.macs, sum(row.macs for row in heavy))
    return replace(op, kind="recurrent", macs=macs, compute_dtype=dtype, inputs=(*op.inputs, *constants)), constants


def _steps(condition: TfliteGraph) -> int:
    """How often a loop runs: what its counter is compared with; 1 where that is computed."""
    compared = [condition.tensors[index].number for row in condition.operators for index in row.inputs if index >= 0]
    return next((number for number in compared if number is not None), 1)


def _unique_names(tensors: tuple[TfliteTensor, ...]) -> list[str]:
    """Names need not be unique in a file: a repeated or empty one gets its index."""
    seen: set[str] = set()
    names = []
    for index, tensor in enumerate(tensors):
        name = f"{tensor.name}#{index}" if not tensor.name or tensor.name in seen else tensor.name
        seen.add(name)
        names.append(name)
    return names


def _tensor(name: str, tensor: TfliteTensor) -> Tensor:
    constant = tensor.stored_bytes > 0
    return Tensor(
        name,
        tensor.shape,
        tensor.dtype,
        tensor.stored_bytes if constant else dense_bytes(tensor.shape, tensor.dtype),
        constant,
        tensor.scale or None,
        tensor.zero_point or None,
        tensor.quantized_dimension if len(tensor.scale) > 1 else None,
        "sparse" if tensor.sparse else "plain",
    )


def _type_names() -> dict[int, str]:
    """The schema's names of built-in operators, by number."""
    if find_spec("ai_edge_litert"):
        schema = import_module("ai_edge_litert.schema_py_generated")
    elif find_spec("tflite_micro"):
        schema = import_module("tflite_micro.tensorflow.lite.micro.python.schema_py_generated")
    else:
        raise MissingExtra("ai-edge-litert", "tflite", "naming the operators of a TFLite file")
    return {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def _op(operator: TfliteOperator, names: list[str], tensors: dict[str, Tensor], type_names: dict[int, str]) -> Op:
    op_type = operator.custom or type_names.get(operator.code, f"BUILTIN_{operator.code}")
    kind = KINDS.get(op_type, "other")
    inputs = tuple(names[index] for index in operator.inputs if index >= 0)
    outputs = tuple(names[index] for index in operator.outputs)
    macs = _macs(op_type, kind, [tensors[name].shape for name in inputs], [tensors[name].shape for name in outputs])
    dtype = _compute_dtype(kind, [tensors[name] for name in inputs], [tensors[name] for name in outputs])
    return Op(outputs[0] if outputs else op_type, kind, inputs, outputs, macs, 0, dtype, op_type)


def _macs(op_type: str, kind: Kind, inputs: list[tuple[int | None, ...]], outputs: list[tuple[int | None, ...]]) -> int:
    if op_type in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):  # inputs: output shape, weights [O, …, I], values
        return macs_per_weight(elements(inputs[2]), inputs[1], -1)
    if kind == "matmul":
        return matmul_macs(inputs[0], outputs[0])
    if kind in HEAVY:  # weights [O, …, I], depthwise [1, H, W, O], 3-D [D, H, W, I, O]
        axis = -1 if kind == "depthwise_conv" or op_type == "CONV_3D" else 0
        return macs_per_weight(elements(outputs[0]), inputs[1], axis)
    return 0


def _compute_dtype(kind: Kind, inputs: list[Tensor], outputs: list[Tensor]) -> str:
    """The dtype of what it gives; int8 where a float layer quantizes its input for int8 weights on the fly."""
    if kind in HEAVY and any(tensor.constant and tensor.dtype == "int8" for tensor in inputs):
        return "int8"
    if kind == "quantize":
        return inputs[0].dtype
    giving = outputs[:1] or inputs[-1:]  # what writes a variable gives nothing
    return giving[0].dtype if giving else "unknown"


def _text(value: bytes) -> str:
    text = value.rstrip(b"\0").decode("utf-8", "replace")
    return text if text.isprintable() else f"{len(value)} bytes"
