"""ONNX → the neutral op table. QDQ is read as what runtimes make of it: integer operators."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.devices.spec import Format
from edgewright.errors import BadModel, MissingExtra
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo
from edgewright.runtimes.dtypes import dense_bytes, elements
from edgewright.runtimes.read.fold import folded
from edgewright.runtimes.read.model import HEAVY, Kind, Model, Op, Tensor, macs_per_weight, matmul_macs
from edgewright.runtimes.read.onnx_tables import with_tables
from edgewright.runtimes.read.precision import true_precision

if TYPE_CHECKING:
    import onnx

OPERATORS: dict[Kind, str] = {
    "conv": "Conv ConvTranspose ConvInteger QLinearConv",
    "linear": "Gemm",
    "recurrent": "LSTM GRU RNN",
    "matmul": "MatMul MatMulInteger QLinearMatMul",
    "pool": "AveragePool MaxPool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool",
    "elementwise": "Add Sub Mul Div Max Min Pow Mod Sum Mean Abs Neg Exp Log Sqrt Reciprocal Sin Cos Tan Ceil Floor "
    "Round Sign Erf Cast Where Equal Less LessOrEqual Greater GreaterOrEqual And Or Not Xor Expand Identity Dropout",
    "activation": "Relu Clip Sigmoid Tanh HardSwish HardSigmoid LeakyRelu PRelu Elu Celu Selu Gelu Softplus Softsign "
    "Mish Swish ThresholdedRelu",
    "reshape": "Reshape Flatten Squeeze Unsqueeze",
    "transpose": "Transpose",
    "pad": "Pad",
    "concat": "Concat",
    "quantize": "QuantizeLinear DynamicQuantizeLinear",
    "dequantize": "DequantizeLinear",
    "normalization": "BatchNormalization InstanceNormalization LayerNormalization GroupNormalization LRN "
    "LpNormalization RMSNormalization",
    "softmax": "Softmax LogSoftmax",
    "reduce": "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp "
    "ReduceLogSum ArgMax ArgMin CumSum",
    "gather": "Gather GatherElements GatherND Slice Split",
    "resize": "Resize Upsample",
}
Shape = tuple[int | None, ...]
KINDS: dict[str, Kind] = {op_type: kind for kind, names in OPERATORS.items() for op_type in names.split()}
WEIGHT_INPUT = {"QLinearConv": 3, "QLinearMatMul": 3}  # elsewhere the second
INTEGER = {"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"}


def read_onnx(path: Path) -> Model:
    """Raises BadModel on a damaged file or on external data outside its folder, MissingExtra without onnx."""
    model = _load(path)
    external_bytes = sum(file.stat().st_size for file in external_files(model, path))
    tensors = _tensors(model)
    nodes, tensors = with_tables([node for node in model.graph.node if node.op_type != "Constant"], tensors)
    fixed = {name for name, tensor in tensors.items() if tensor.constant}
    fixed |= {node.output[0] for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in fixed}
    ops = [_op(node, tensors, fixed) for node in nodes]
    inputs = [info.name for info in model.graph.input if not tensors[info.name].constant]
    outputs = [info.name for info in model.graph.output]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    stored = metadata.pop(CONTRACT_KEY, None)
    derived = Contract(*(tuple(_info(tensors[name]) for name in names) for names in (inputs, outputs)))
    neutral, kept = folded(ops, tensors, inputs, outputs, fuse=True)
    return Model(
        format=Format.ONNX,
        precision=true_precision(neutral, kept),
        ops=tuple(neutral),
        tensors=kept,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        contract=Contract.from_json(stored) if stored else derived,
        size_bytes=path.stat().st_size + external_bytes,
        metadata=metadata,
    )


def external_files(model: "onnx.ModelProto", path: Path) -> list[Path]:
    """The files beside the model that hold weights. Raises one BadModel for all absent ones and all outside it."""
    import onnx

    folder = path.parent.resolve()
    locations = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = {name: (folder / name).resolve() for name in sorted(locations)}
    problems = [f"{name!r} lies outside the model's folder" for name, f in files.items() if folder not in f.parents]
    problems += [f"{name!r} is absent" for name, f in files.items() if folder in f.parents and not f.is_file()]
    if problems:
        raise BadModel(f"{path}: external data: {'; '.join(problems)}")
    return list(files.values())


def _load(path: Path) -> "onnx.ModelProto":
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("onnx", "onnx", "reading an ONNX file") from None
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise BadModel(f"{path}: not readable as ONNX ({error})") from None
    if not model.graph.node:
        raise BadModel(f"{path}: not an ONNX model: it has no operators")
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:  # ValueError: over 2 GB
        raise BadModel(f"{path}: shapes cannot be inferred ({error})") from None


def _tensors(model: "onnx.ModelProto") -> dict[str, Tensor]:
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], attr.t) for attr in node.attribute if attr.name == "value")
    tensors = {name: _tensor(name, tuple(t.dims), _dtype(t.data_type), True) for name, t in constants.items()}
    for info in (*graph.input, *graph.value_info, *graph.output):
        if info.name not in tensors:
            kind = info.type.tensor_type
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
            tensors[info.name] = _tensor(info.name, shape, _dtype(kind.elem_type), False)
    for node in graph.node:
        for name in (*node.input, *node.output):
            tensors.setdefault(name, _tensor(name, (), "unknown", node.op_type == "Constant"))
    return tensors | {name: tensor for node in graph.node for name, tensor in _quantized(node, tensors, constants)}


def _quantized(node: Any, tensors: dict[str, Tensor], constants: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """The integer side of a Q or DQ node with its scale and zero point, where these lie in the file itself."""
    from onnx.numpy_helper import to_array

    parts: list[Any] = [constants.get(name) for name in node.input[1:3] if name]
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or any(p is None or p.external_data for p in parts):
        return []
    name = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
    scale, *rest = (to_array(part).reshape(-1).tolist() for part in parts)
    zero_point = [int(value) for value in rest[0]] if rest else [0] * len(scale)
    axis = _integer(node, "axis", 1) if len(scale) > 1 else None
    described = replace(tensors[name], scale=tuple(scale), zero_point=tuple(zero_point), quantized_dimension=axis)
    return [(name, described)]


def _tensor(name: str, shape: tuple[int | None, ...], dtype: str, constant: bool) -> Tensor:
    return Tensor(name, shape, dtype, dense_bytes(shape, dtype), constant)


def _dtype(code: int) -> str:
    """The field's names: FLOAT is float32, DOUBLE is float64."""
    import onnx

    name: str = onnx.TensorProto.DataType.Name(code).lower()
    return {"float": "float32", "double": "float64", "undefined": "unknown"}.get(name, name)


def _info(tensor: Tensor) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.shape, tensor.dtype)


def _op(node: Any, tensors: dict[str, Tensor], fixed: set[str]) -> Op:
    """`fixed` names constants and what decodes them."""
    known = node.domain in ("", "ai.onnx", "com.microsoft")
    kind = KINDS.get(node.op_type, "other") if known else "other"
    macs = 0
    if kind in HEAVY:
        weight = node.input[WEIGHT_INPUT.get(node.op_type, 1)]
        source, output = (tensors[name].shape for name in (node.input[0], next(filter(None, node.output))))
        macs = _macs(node, source, tensors[weight].shape, output)
        if kind == "conv" and _is_depthwise(node, tensors[weight].shape):
            kind = "depthwise_conv"
        if kind == "matmul" and weight in fixed:
            kind = "linear"
    inputs = tuple(name for name in node.input if name)
    if kind in ("quantize", "dequantize"):  # scale and zero point are told by the tensor
        inputs = inputs[:1]
    outputs = tuple(name for name in node.output if name)
    dtype = tensors[inputs[0] if kind == "quantize" else outputs[0]].dtype
    if node.op_type in INTEGER:
        dtype = "int8"
    return Op(node.name or outputs[0], kind, inputs, outputs, macs, 0, dtype, node.op_type)


def _macs(node: Any, source: Shape, weight: Shape, output: Shape) -> int:
    if node.op_type == "ConvTranspose":
        return macs_per_weight(elements(source), weight, 0)
    if KINDS[node.op_type] == "recurrent":  # [directions, gates × hidden, inputs]: each step uses these and the state's
        hidden = _integer(node, "hidden_size", 0)
        return elements(source[:2]) * elements(weight[:2]) * ((weight[2] or 0) + hidden)
    if node.op_type == "Gemm":
        return macs_per_weight(elements(output), weight, 0 if _integer(node, "transB", 0) else 1)
    return matmul_macs(source, output) if "MatMul" in node.op_type else macs_per_weight(elements(output), weight, 0)


def _is_depthwise(node: Any, weight: Shape) -> bool:
    group = _integer(node, "group", 1)
    return group > 1 and (weight[0] == group if node.op_type == "ConvTranspose" else weight[1] == 1)


def _integer(node: Any, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)
