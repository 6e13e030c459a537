"""Core ML (ML program) → the neutral op table."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewright.devices.spec import Format
from edgewright.errors import BadModel
from edgewright.runtimes.artifact import files_of
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo
from edgewright.runtimes.dtypes import dense_bytes, elements
from edgewright.runtimes.read.coreml_metadata import coreml_metadata
from edgewright.runtimes.read.fold import folded
from edgewright.runtimes.read.mil_proto import Weights, dtype_of, load_spec, shape_of
from edgewright.runtimes.read.model import HEAVY, Coding, Kind, Model, Op, Tensor, macs_per_weight, matmul_macs
from edgewright.runtimes.read.precision import true_precision

OPERATORS: dict[Kind, str] = {
    "conv": "conv conv_transpose",
    "linear": "linear",
    "matmul": "matmul",
    "pool": "avg_pool max_pool l2_pool",
    "elementwise": "add sub mul real_div floor_div maximum minimum pow mod abs exp exp2 log sqrt rsqrt inverse square "
    "sin cos tan ceil floor round sign erf cast select equal not_equal less less_equal greater greater_equal "
    "logical_and logical_or logical_not logical_xor",
    "activation": "relu relu6 clip sigmoid tanh sigmoid_hard leaky_relu prelu elu gelu silu softplus softsign "
    "clamped_relu linear_activation scaled_tanh thresholded_relu",
    "reshape": "reshape squeeze expand_dims flatten2d",
    "transpose": "transpose",
    "pad": "pad",
    "concat": "concat stack",
    "quantize": "quantize",
    "dequantize": "dequantize",
    "normalization": "batch_norm instance_norm layer_norm l2_norm local_response_norm",
    "softmax": "softmax",
    "reduce": "reduce_mean reduce_sum reduce_max reduce_min reduce_prod reduce_argmax reduce_argmin reduce_l1_norm "
    "reduce_l2_norm reduce_log_sum_exp reduce_sum_square cumsum",
    "gather": "gather gather_along_axis gather_nd slice_by_index slice_by_size split",
    "resize": "resize resize_bilinear resize_nearest_neighbor upsample_bilinear upsample_nearest_neighbor crop_resize",
}
KINDS: dict[str, Kind] = {op_type: kind for kind, names in OPERATORS.items() for op_type in names.split()}
Shape = tuple[int | None, ...]
ROLES = ("x", "input", "values", "data", "y", "weight", "bias")  # tensors first, in this order; then by name
CODINGS: dict[str, Coding] = {
    "constexpr_lut_to_dense": "palettized",
    "constexpr_lut_to_sparse": "palettized",
    "constexpr_sparse_to_dense": "sparse",
}
CODES = ("quantized_data", "indices", "indices_nonzero_data", "nonzero_data", "source_val", "data")
"""Which part of a constexpr holds the codes."""


def read_coreml(path: Path) -> Model:
    """The default function. Raises BadModel on a damaged package, MissingExtra without coremltools."""
    spec, folder = load_spec(path)
    name = spec.description.defaultFunctionName or "main"
    function = spec.mlProgram.functions[name]
    block = function.block_specializations[function.opset]
    inputs = [value.name for value in function.inputs if value.type.WhichOneof("type") != "stateType"]
    outputs = list(block.outputs)
    if not outputs:
        raise BadModel(f"{path}: its program has no {name} function for {function.opset or 'any opset'}")
    reader = _Reader(Weights(folder))
    reader.declare(function.inputs)
    for operation in block.operations:
        reader.add(operation)
    metadata = coreml_metadata(spec, block.operations)
    stored = metadata.pop(CONTRACT_KEY, None)
    derived = Contract(*(tuple(_info(reader.tensors[name]) for name in names) for names in (inputs, outputs)))
    neutral, kept = folded(reader.ops, reader.tensors, inputs, outputs, fuse=True)
    return Model(
        format=Format.COREML,
        precision=true_precision(neutral, kept),
        ops=tuple(neutral),
        tensors=kept,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        contract=Contract.from_json(stored) if stored else derived,
        size_bytes=sum(file.stat().st_size for file in files_of(path)),
        metadata=metadata | {"opset": function.opset},
    )


class _Reader:
    """Operations in order → operators and tensors; `values` holds constants that parameters refer to."""

    def __init__(self, weights: Weights) -> None:
        self.ops: list[Op] = []
        self.tensors: dict[str, Tensor] = {}
        self._weights = weights
        self._values: dict[str, Any] = {}

    def declare(self, values: Iterable[Any]) -> None:
        for value in values:
            kind = value.type.tensorType
            shape, dtype = shape_of(kind), dtype_of(kind.dataType)
            self.tensors[value.name] = Tensor(value.name, shape, dtype, dense_bytes(shape, dtype), False)

    def add(self, operation: Any) -> None:
        self.declare(operation.outputs)
        name = operation.outputs[0].name if operation.outputs else operation.type
        if operation.type == "const":
            self._values[name] = operation.attributes["val"]
            stored = self._weights.stored_bytes(operation.attributes["val"])
            self.tensors[name] = replace(self.tensors[name], constant=True, bytes=stored)
        elif operation.type.startswith("constexpr_"):
            decoded = self._decoded(operation, self.tensors[name])
            self.tensors[name] = decoded
            for other in operation.outputs[1:]:  # a mask comes with what it keeps
                self.tensors[other.name] = replace(decoded, name=other.name, bytes=0)
        else:
            self.ops.append(self._op(operation, name))

    def _parts(self, operation: Any) -> dict[str, Any]:
        """Constant parameters by name: attributes, values given in place, and names of `const` operations."""
        parts = {key: value for key, value in operation.attributes.items() if key != "name"}
        for key, argument in operation.inputs.items():
            for binding in argument.arguments[:1]:
                inline = binding.WhichOneof("binding") == "value"
                value = binding.value if inline else self._values.get(binding.name)
                if value is not None:
                    parts[key] = value
        return parts

    def _decoded(self, operation: Any, output: Tensor) -> Tensor:
        """The constant that a constexpr decodes, described as it is stored."""
        parts = self._parts(operation)
        names = [binding.name for argument in operation.inputs.values() for binding in argument.arguments]
        nested = [name for name in names if name and name not in self._values]
        stored = sum(self._weights.stored_bytes(value) for value in parts.values())
        stored += sum(self.tensors[name].bytes for name in nested)
        code = next((parts[key] for key in CODES if key in parts), None)
        dtype = dtype_of(code.type.tensorType.dataType) if code is not None else self.tensors[nested[0]].dtype
        if operation.type == "constexpr_lut_to_dense" and "lut" in parts and dtype == "uint8":
            entries = elements(shape_of(parts["lut"].type.tensorType))
            dtype = f"uint{max(1, math.ceil(math.log2(entries)))}"  # iOS 16 packs the indices into bytes
        inside = {self.tensors[name].coding for name in nested} - {"plain"}
        coding = max(inside, default=CODINGS.get(operation.type, "plain"))
        described = replace(output, constant=True, bytes=stored, dtype=dtype, coding=coding)
        return self._scaled(described, parts)

    def _scaled(self, tensor: Tensor, parts: Mapping[str, Any]) -> Tensor:
        if "scale" not in parts:
            return tensor
        scale = tuple(float(value) for value in self._weights.numbers(parts["scale"]))
        zero = parts.get("zero_point", parts.get("offset"))
        zero_point = tuple(int(value) for value in self._weights.numbers(zero)) if zero is not None else (0,)
        if len(zero_point) == 1:
            zero_point *= len(scale)
        axis = int(self._weights.numbers(parts["axis"])[0]) if "axis" in parts and len(scale) > 1 else None
        split = [at for at, length in enumerate(shape_of(parts["scale"].type.tensorType)) if length != 1]
        if axis is None and len(split) == 1 and tensor.shape[split[0]] == len(scale):  # iOS 18: scales have all axes
            axis = split[0]
        return replace(tensor, scale=scale, zero_point=zero_point, quantized_dimension=axis)

    def _op(self, operation: Any, name: str) -> Op:
        kind = KINDS.get(operation.type, "other")
        parts = self._parts(operation)
        inputs = self._inputs(operation)
        outputs = tuple(value.name for value in operation.outputs)
        if kind == "quantize":
            self.tensors[name] = self._scaled(self.tensors[name], parts)
        if kind == "dequantize" and inputs:
            self.tensors[inputs[0]] = self._scaled(self.tensors[inputs[0]], parts)
        macs = 0
        if kind in HEAVY:
            source, weight = self.tensors[inputs[0]].shape, self.tensors[inputs[1]].shape
            macs = _macs(operation.type, source, weight, self.tensors[name].shape)
            groups = int(self._weights.numbers(parts["groups"])[0]) if "groups" in parts else 1
            alone = weight[0] == groups if operation.type == "conv_transpose" else weight[1] == 1
            if kind == "conv" and groups > 1 and alone:
                kind = "depthwise_conv"
            if kind == "matmul" and self.tensors[inputs[1]].constant:
                kind = "linear"
        dtype = self.tensors[inputs[0] if kind == "quantize" else name].dtype if outputs else "unknown"
        return Op(name, kind, inputs, outputs, macs, 0, dtype, operation.type)

    def _inputs(self, operation: Any) -> tuple[str, ...]:
        """Tensors that it reads: values, and constants that hold numbers; not parameters such as strides."""
        order = sorted(operation.inputs, key=lambda key: (ROLES.index(key) if key in ROLES else len(ROLES), key))
        names = [b.name for key in order for b in operation.inputs[key].arguments if b.name]
        return tuple(name for name in names if not self._is_parameter(name))

    def _is_parameter(self, name: str) -> bool:
        tensor = self.tensors[name]
        return name in self._values and (not tensor.shape or tensor.dtype in ("int32", "bool", "string"))


def _macs(op_type: str, source: Shape, weight: Shape, output: Shape) -> int:
    if op_type == "matmul":
        return matmul_macs(source, output)
    return macs_per_weight(elements(source if op_type == "conv_transpose" else output), weight, 0)


def _info(tensor: Tensor) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.shape, tensor.dtype)
