"""A small independent reading of ML programs for these tests: the saved package, its weight file, and torch.

It knows the operations that the writer emits. The arithmetic is float32; with `round_float16` tensors that the program
types float16 are rounded after every operation.
"""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

FLOAT16, FLOAT32, INT4, INT8, UINT8, INT32, BOOL, STRING = 10, 11, 25, 21, 31, 23, 1, 2  # MIL.proto DataType
BYTE_KINDS = {FLOAT16: "<f2", FLOAT32: "<f4", INT8: "i1", UINT8: "u1", INT32: "<i4"}
TORCH_KINDS = {
    kind: f"torch.{name}"
    for kind, name in (
        (FLOAT16, "float32"), (FLOAT32, "float32"), (INT8, "int8"), (UINT8, "uint8"), (INT32, "int32"), (BOOL, "bool"),
    )
}  # fmt: skip
SENTINEL = 0xDEADBEEF


def read_spec(package: Path) -> Any:
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString((package / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    return spec


def operations(package: Path) -> list[Any]:
    function = read_spec(package).mlProgram.functions["main"]
    return list(function.block_specializations[function.opset].operations)


def op_types(package: Path) -> list[str]:
    return [op.type for op in operations(package) if op.type != "const"]


def evaluate(
    package: Path,
    inputs: Mapping[str, NDArray[Any]],
    *,
    round_float16: bool = False,
    taught: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Every tensor of the program by name, outputs included.

    Where `taught` has a tensor, its readers get that one, while the answer keeps what was computed.
    """
    blob_path = package / "Data/com.apple.CoreML/weights/weight.bin"
    blob = blob_path.read_bytes() if blob_path.exists() else b""
    values: dict[str, Any] = {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}
    answers: dict[str, Any] = {}
    for op in operations(package):
        arguments = {name: constant(value, blob) for name, value in op.attributes.items() if name != "name"}
        for name, argument in op.inputs.items():
            found = [
                values[binding.name] if binding.HasField("name") else constant(binding.value, blob)
                for binding in argument.arguments
            ]
            arguments[name] = found if name == "values" else found[0]
        arguments = {"x" if name == "input" else name: value for name, value in arguments.items()}
        results = arguments["val"] if op.type == "const" else OPERATIONS[op.type](**arguments)
        for output, result in zip(op.outputs, results if isinstance(results, tuple) else (results,), strict=True):
            answers[output.name] = values[output.name] = typed(output, result, round_float16)
            if taught and output.name in taught:
                values[output.name] = torch.from_numpy(taught[output.name])
    return {name: v.numpy() for name, v in answers.items() if isinstance(v, torch.Tensor)}


def typed(output: Any, result: Any, round_float16: bool) -> Any:
    """Check the declared shape and type; round what the program declares float16."""
    if not isinstance(result, torch.Tensor):
        return result
    declared = output.type.tensorType
    assert list(result.shape) == [d.constant.size for d in declared.dimensions], output.name
    assert str(result.dtype) == TORCH_KINDS[declared.dataType], output.name
    if declared.dataType == FLOAT16 and round_float16:
        return result.half().float()
    return result


def constant(value: Any, blob: bytes) -> Any:
    kind = value.type.tensorType.dataType
    shape = [dimension.constant.size for dimension in value.type.tensorType.dimensions]
    if value.HasField("blobFileValue"):
        sentinel, _, size, start = struct.unpack_from("<IIQQ", blob, value.blobFileValue.offset)
        assert sentinel == SENTINEL
        array = np.frombuffer(blob[start : start + size], BYTE_KINDS.get(kind, "u1"))
        if kind == INT4:  # two in a byte, the lower half first
            pairs = np.stack([array & 15, array >> 4], axis=1).reshape(-1).astype(np.int8)
            array = np.where(pairs > 7, pairs - 16, pairs)[: int(np.prod(shape))]
    else:
        field = value.immediateValue.tensor.WhichOneof("value")
        held = getattr(value.immediateValue.tensor, field).values
        if kind == STRING:
            return held[0]
        array = np.frombuffer(held, BYTE_KINDS[kind]) if field == "bytes" else np.array(held)
    array = array.reshape(shape)
    return torch.from_numpy(array.astype(np.float32) if kind in (FLOAT16, FLOAT32) else array.copy())


def ints(tensor: torch.Tensor) -> list[int]:
    return [int(n) for n in tensor.reshape(-1)]


def along(parameter: torch.Tensor, rank: int, axis: Any) -> torch.Tensor:
    return parameter.reshape([-1 if i == int(axis) % rank else 1 for i in range(rank)]) if parameter.ndim else parameter


def affine(codes: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: Any = 0) -> torch.Tensor:
    rank = codes.ndim
    return (codes.float() - along(zero_point, rank, axis).float()) * along(scale, rank, axis)


def blockwise(data: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None = None) -> torch.Tensor:
    zero = torch.zeros_like(scale) if offset is None else offset.float()
    for axis, length in enumerate(data.shape):  # every axis may be cut into blocks
        scale, zero = (each.repeat_interleave(length // each.shape[axis], axis) for each in (scale, zero))
    return (data.float() - zero) * scale


def quantize(
    x: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    output_dtype: str,
    axis: Any = 0,
) -> torch.Tensor:
    limits = np.iinfo(output_dtype)
    codes = torch.round(x / along(scale, x.ndim, axis)) + along(zero_point, x.ndim, axis).float()
    return codes.clamp(limits.min, limits.max).to(getattr(torch, output_dtype))


def padded(x: torch.Tensor, pad: torch.Tensor, value: float) -> torch.Tensor:
    return F.pad(x, [n for pair in reversed(pad.reshape(-1, 2).tolist()) for n in pair], value=value)


def conv(
    x: Any, weight: Any, strides: Any, pad_type: str, pad: Any, dilations: Any, groups: Any, bias: Any = None
) -> Any:
    assert pad_type == "custom"
    function = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    return function(padded(x, pad, 0.0), weight, bias, ints(strides), 0, ints(dilations), int(groups))


def conv_transpose(
    x: Any, weight: Any, strides: Any, pad_type: str, pad: Any, dilations: Any, groups: Any, bias: Any = None
) -> Any:
    assert pad_type == "custom"
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[x.ndim - 3]
    full = function(x, weight, bias, ints(strides), 0, 0, int(groups), ints(dilations))
    return padded(full, -pad, 0.0)


def max_pool(x: Any, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: Any) -> Any:
    assert pad_type == "custom" and not ceil_mode
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
    return function(padded(x, pad, -torch.inf), ints(kernel_sizes), ints(strides))


def avg_pool(
    x: Any, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: Any, exclude_padding_from_average: Any
) -> Any:
    assert pad_type == "custom" and not ceil_mode
    function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    mean = function(padded(x, pad, 0.0), ints(kernel_sizes), ints(strides))
    if exclude_padding_from_average:
        mean = mean / function(padded(torch.ones_like(x), pad, 0.0), ints(kernel_sizes), ints(strides))
    return mean


def cast(x: Any, dtype: str) -> Any:
    kinds = {"fp32": torch.float32, "fp16": torch.float32, "int32": torch.int32, "bool": torch.bool}
    return x.to(kinds[dtype])


def slice_by_index(x: Any, begin: Any, end: Any, stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any) -> Any:
    assert not squeeze_mask.any()
    rows = zip(ints(begin), ints(end), ints(stride), begin_mask.tolist(), end_mask.tolist(), strict=True)
    parts = tuple(slice(None if bm else b, None if em else e, s) for b, e, s, bm, em in rows)
    return torch.from_numpy(x.numpy()[parts].copy())


def pad_(x: Any, pad: Any, mode: str, constant_val: Any) -> Any:
    numpy_mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
    values = {"constant_values": float(constant_val)} if mode == "constant" else {}
    return torch.from_numpy(np.pad(x.numpy(), pad.reshape(-1, 2).tolist(), numpy_mode, **values))


def gather(x: Any, indices: Any, axis: Any, batch_dims: Any = 0, validate_indices: Any = False) -> Any:
    assert not batch_dims and not validate_indices and (indices >= 0).all()
    return torch.from_numpy(np.take(x.numpy(), indices.numpy(), int(axis)))


def batch_norm(x: Any, mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: Any) -> Any:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=float(epsilon))


def upsample_bilinear(
    x: Any, scale_factor_height: Any, scale_factor_width: Any, align_corners: Any, half_pixel_centers: Any
) -> Any:
    assert bool(half_pixel_centers) != bool(align_corners)
    size = [int(x.shape[2] * scale_factor_height), int(x.shape[3] * scale_factor_width)]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=bool(align_corners))


def instance_norm(x: Any, gamma: Any, beta: Any, epsilon: Any) -> Any:
    return F.instance_norm(x, weight=gamma, bias=beta, eps=float(epsilon))


def layer_norm(x: Any, axes: Any, gamma: Any, epsilon: Any, beta: Any = None) -> Any:
    assert ints(axes) == list(range(x.ndim - len(axes), x.ndim))
    return F.layer_norm(x, x.shape[-len(axes) :], gamma, beta, float(epsilon))


def depth_to_space(x: Any, block_size: Any) -> Any:
    n, (b, c, h, w) = int(block_size), x.shape
    return x.reshape(b, n, n, c // n**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // n**2, h * n, w * n)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    return F.linear(x, weight, bias)


def matmul(x: Any, y: Any, transpose_x: Any, transpose_y: Any) -> Any:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def reduction(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda x, axes, keep_dims: function(x, ints(axes), bool(keep_dims))


def product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return torch.from_numpy(np.prod(x.numpy(), axis=tuple(axes), keepdims=keep))


BINARY: dict[str, Callable[[Any, Any], torch.Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "real_div": torch.div, "pow": torch.pow,
    "maximum": torch.maximum, "minimum": torch.minimum, "equal": torch.eq, "greater": torch.gt,
    "greater_equal": torch.ge, "less": torch.lt, "less_equal": torch.le, "logical_and": torch.logical_and,
    "logical_or": torch.logical_or, "logical_xor": torch.logical_xor,
}  # fmt: skip
UNARY: dict[str, Callable[[Any], torch.Tensor]] = {
    **{name: getattr(torch, name) for name in (
        "abs", "acos", "asin", "atan", "atanh", "ceil", "cos", "cosh", "exp", "erf", "floor", "logical_not", "relu",
        "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh",
    )},
    "identity": lambda x: x, "relu6": F.relu6, "silu": F.silu, "softplus": F.softplus, "softsign": F.softsign,
}  # fmt: skip
REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "reduce_mean": torch.mean, "reduce_sum": torch.sum, "reduce_max": torch.amax, "reduce_min": torch.amin,
    "reduce_prod": product, "reduce_log_sum_exp": torch.logsumexp,
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keep),
}  # fmt: skip
OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: (lambda x, y, f=f: f(x, y)) for name, f in BINARY.items()},
    **{name: (lambda x, f=f: f(x)) for name, f in UNARY.items()},
    **{name: reduction(f) for name, f in REDUCTIONS.items()},
    "avg_pool": avg_pool,
    "batch_norm": batch_norm,
    "cast": cast,
    "clip": lambda x, alpha, beta: x.clamp(float(alpha), float(beta)),
    "concat": lambda values, axis, interleave: torch.cat(values, int(axis)),  # noqa: ARG005
    "constexpr_affine_dequantize": lambda quantized_data, scale, zero_point, axis: affine(
        quantized_data, scale, zero_point, axis
    ),
    "constexpr_blockwise_shift_scale": blockwise,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "depth_to_space": depth_to_space,
    "dequantize": lambda x, scale, zero_point, axis=0: affine(x, scale, zero_point, axis),
    "elu": lambda x, alpha: F.elu(x, float(alpha)),
    "expand_dims": lambda x, axes: torch.from_numpy(np.expand_dims(x.numpy(), tuple(ints(axes)))),
    "gather": gather,
    "gelu": lambda x, mode: F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode]),
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, float(alpha)),
    "linear": linear,
    "log": lambda x, epsilon: torch.log(x + epsilon),
    "matmul": matmul,
    "max_pool": max_pool,
    "pad": pad_,
    "pixel_shuffle": lambda x, upscale_factor: F.pixel_shuffle(x, int(upscale_factor)),
    "prelu": lambda x, alpha: F.prelu(x, alpha),
    "quantize": quantize,
    "reshape": lambda x, shape: x.reshape(ints(shape)),
    "select": lambda cond, a, b: torch.where(cond, a, b),
    "sigmoid_hard": lambda x, alpha, beta: (x * alpha + beta).clamp(0, 1),
    "slice_by_index": slice_by_index,
    "softmax": lambda x, axis: x.softmax(int(axis)),
    "split": lambda x, split_sizes, axis: torch.split(x, ints(split_sizes), int(axis)),
    "squeeze": lambda x, axes: torch.from_numpy(np.squeeze(x.numpy(), tuple(ints(axes)))),
    "transpose": lambda x, perm: x.permute(ints(perm)),
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": lambda x, scale_factor_height, scale_factor_width: x.repeat_interleave(
        int(scale_factor_height), 2
    ).repeat_interleave(int(scale_factor_width), 3),
}
