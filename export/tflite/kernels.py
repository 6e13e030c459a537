"""What TFLite's kernels demand: options table, version by operand types, and which scales an int8 kernel accepts.

Versions and the runtimes that brought them are facts of LiteRT's `tools/versioning/{op_version,runtime_version}.cc`;
a version that is too high is refused by an older runtime, one that is too low may be answered with garbage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.export.tflite.tensor import Tensor


@dataclass(frozen=True)
class Kernel:
    """`options`: the schema's options table. `int8`: version for int8 operands. `runtime`: first TensorFlow release
    of each version from 1 on. `equal_scales`: int8 input and output must share scale and zero point.
    `output`: the only (scale, zero point) that the int8 kernel writes."""

    options: str | None
    int8: int
    runtime: Sequence[str]
    equal_scales: bool = False
    output: tuple[float, int] | None = None


KERNELS: Mapping[str, Kernel] = {
    # convolutions and matrix products
    "CONV_2D": Kernel("Conv2DOptions", 3, ("1.5.0", "1.14.0", "1.14.0", "2.3.0", "2.4.0", "2.9.0")),
    "DEPTHWISE_CONV_2D": Kernel("DepthwiseConv2DOptions", 3, ("1.5.0", "1.12.0", "1.14.0")),
    "TRANSPOSE_CONV": Kernel("TransposeConvOptions", 2, ("1.9.0", "2.2.0", "2.3.0")),
    "CONV_3D_TRANSPOSE": Kernel("Conv3DOptions", 1, ("2.6.0",)),
    "FULLY_CONNECTED": Kernel("FullyConnectedOptions", 4, ("1.5.0", "1.10.0", "1.14.0", "1.14.0", "2.0.0", "2.1.0")),
    "BATCH_MATMUL": Kernel("BatchMatMulOptions", 2, ("2.3.0", "2.3.0")),
    # pools and reductions
    "MAX_POOL_2D": Kernel("Pool2DOptions", 2, ("1.5.0", "1.14.0"), equal_scales=True),
    "AVERAGE_POOL_2D": Kernel("Pool2DOptions", 2, ("1.5.0", "1.14.0"), equal_scales=True),
    "MEAN": Kernel("ReducerOptions", 2, ("1.6.0", "1.14.0")),
    "SUM": Kernel("ReducerOptions", 2, ("1.10.0", "1.15.0")),
    "REDUCE_MAX": Kernel("ReducerOptions", 2, ("1.11.0", "1.14.0"), equal_scales=True),
    "REDUCE_MIN": Kernel("ReducerOptions", 2, ("1.11.0", "1.14.0"), equal_scales=True),
    "REDUCE_PROD": Kernel("ReducerOptions", 2, ("1.11.0", "2.6.0")),
    "REDUCE_ANY": Kernel("ReducerOptions", 1, ("1.11.0",)),
    "REDUCE_ALL": Kernel("ReducerOptions", 1, ("2.6.0",)),
    "CUMSUM": Kernel("CumsumOptions", 1, ("2.4.0",)),
    # searches
    "ARG_MAX": Kernel("ArgMaxOptions", 2, ("1.9.0", "1.14.0", "2.9.0")),
    "ARG_MIN": Kernel("ArgMinOptions", 2, ("1.9.0", "1.14.0", "2.9.0")),
    "TOPK_V2": Kernel("TopKV2Options", 2, ("1.7.0", "1.14.0")),
    "ONE_HOT": Kernel("OneHotOptions", 1, ("1.11.0",)),
    "NON_MAX_SUPPRESSION_V4": Kernel("NonMaxSuppressionV4Options", 1, ("2.1.0",)),
    # activations
    "RELU": Kernel(None, 2, ("1.5.0", "2.1.0")),
    "RELU6": Kernel(None, 2, ("1.5.0", "1.14.0")),
    "RELU_N1_TO_1": Kernel(None, 1, ("1.5.0",)),
    "LEAKY_RELU": Kernel("LeakyReluOptions", 1, ("1.13.1",)),
    "PRELU": Kernel(None, 1, ("1.8.0",)),
    "ELU": Kernel(None, 1, ("1.14.0",)),
    "GELU": Kernel("GeluOptions", 2, ("2.9.0", "2.9.0")),
    "HARD_SWISH": Kernel("HardSwishOptions", 1, ("1.15.0",)),
    "LOGISTIC": Kernel(None, 2, ("1.14.0", "1.14.0"), output=(1 / 256, -128)),
    "TANH": Kernel(None, 2, ("1.14.0", "1.14.0"), output=(1 / 128, 0)),
    "SOFTMAX": Kernel("SoftmaxOptions", 2, ("1.5.0", "1.14.0"), output=(1 / 256, -128)),
    "LOG_SOFTMAX": Kernel("LogSoftmaxOptions", 2, ("1.14.0", "1.14.0")),
    # elementwise
    "ADD": Kernel("AddOptions", 2, ("1.5.0", "1.14.0", "2.4.0", "2.6.0")),
    "SUB": Kernel("SubOptions", 2, ("1.6.0", "1.14.0", "2.3.0", "2.4.0")),
    "MUL": Kernel("MulOptions", 2, ("1.5.0", "1.14.0", "1.15.0", "2.3.0", "2.6.0")),
    "DIV": Kernel("DivOptions", 1, ("1.6.0", "2.3.0")),
    "POW": Kernel("PowOptions", 1, ("1.10.0",)),
    "MAXIMUM": Kernel("MaximumMinimumOptions", 2, ("1.14.0", "1.14.0", "2.3.0"), equal_scales=True),
    "MINIMUM": Kernel("MaximumMinimumOptions", 2, ("1.14.0", "1.14.0", "2.3.0"), equal_scales=True),
    "FLOOR_MOD": Kernel("FloorModOptions", 1, ("1.13.0",)),
    "ATAN2": Kernel("ATan2Options", 1, ("2.10.0",)),
    "BITWISE_XOR": Kernel("BitwiseXorOptions", 1, ("2.13.0",)),
    "RIGHT_SHIFT": Kernel("RightShiftOptions", 1, ("2.13.0",)),
    "ABS": Kernel("AbsOptions", 2, ("1.13.0", "2.4.0", "2.5.0", "2.6.0", "2.12.0")),
    "NEG": Kernel("NegOptions", 1, ("1.9.0",)),
    "EXP": Kernel("ExpOptions", 2, ("1.7.0", "2.12.0")),
    "LOG": Kernel(None, 2, ("1.14.0", "2.15.0")),
    "SQRT": Kernel(None, 1, ("1.10.0",)),
    "RSQRT": Kernel(None, 1, ("1.10.0",)),
    "SIN": Kernel(None, 1, ("1.9.0",)),
    "COS": Kernel("CosOptions", 1, ("1.14.0",)),
    "FLOOR": Kernel(None, 1, ("1.9.0",)),
    "CEIL": Kernel(None, 1, ("1.14.0",)),
    "ROUND": Kernel(None, 1, ("1.14.0",)),
    "SIGN": Kernel("SignOptions", 1, ("2.11.0", "2.12.0")),
    "LOGICAL_NOT": Kernel("LogicalNotOptions", 1, ("1.11.0",)),
    "LOGICAL_AND": Kernel("LogicalAndOptions", 1, ("1.11.0",)),
    "LOGICAL_OR": Kernel("LogicalOrOptions", 1, ("1.11.0",)),
    "EQUAL": Kernel("EqualOptions", 2, ("1.14.0", "1.14.0")),
    "NOT_EQUAL": Kernel("NotEqualOptions", 2, ("1.14.0", "1.14.0")),
    "GREATER": Kernel("GreaterOptions", 2, ("1.14.0", "1.14.0")),
    "GREATER_EQUAL": Kernel("GreaterEqualOptions", 2, ("1.14.0", "1.14.0")),
    "LESS": Kernel("LessOptions", 2, ("1.14.0", "1.14.0")),
    "LESS_EQUAL": Kernel("LessEqualOptions", 2, ("1.14.0", "1.14.0")),
    "SELECT_V2": Kernel("SelectV2Options", 1, ("2.2.0",)),
    # data movement
    "RESHAPE": Kernel("ReshapeOptions", 1, ("1.5.0",), equal_scales=True),
    "TRANSPOSE": Kernel(
        "TransposeOptions", 2, ("1.6.0", "1.14.0", "1.15.0", "2.3.0", "2.4.0", "2.12.0"), equal_scales=True
    ),
    "CONCATENATION": Kernel("ConcatenationOptions", 2, ("1.5.0", "1.14.0"), equal_scales=True),
    "SPLIT": Kernel("SplitOptions", 2, ("1.5.0", "1.14.0", "1.14.0"), equal_scales=True),
    "SPLIT_V": Kernel("SplitVOptions", 2, ("1.13.1", "2.3.0"), equal_scales=True),
    "SLICE": Kernel("SliceOptions", 2, ("1.14.0", "1.14.0", "1.14.0", "2.4.0", "2.5.0"), equal_scales=True),
    "STRIDED_SLICE": Kernel("StridedSliceOptions", 2, ("1.6.0", "1.14.0", "2.1.0", "2.2.0"), equal_scales=True),
    "GATHER": Kernel("GatherOptions", 2, ("1.6.0", "1.14.0", "1.15.0", "2.4.0", "2.5.0"), equal_scales=True),
    "SCATTER_ND": Kernel("ScatterNdOptions", 1, ("2.1.0",)),
    "REVERSE_SEQUENCE": Kernel("ReverseSequenceOptions", 1, ("1.14.0",)),
    "PAD": Kernel("PadOptions", 2, ("1.5.0", "1.14.0", "2.4.0", "2.6.0"), equal_scales=True),
    "PADV2": Kernel("PadV2Options", 2, ("1.9.0", "1.14.0", "2.4.0", "2.6.0"), equal_scales=True),
    "TILE": Kernel("TileOptions", 3, ("1.10.1", "2.2.0", "2.8.0"), equal_scales=True),
    "BROADCAST_TO": Kernel("BroadcastToOptions", 3, ("2.5.0", "2.5.0", "2.5.0"), equal_scales=True),
    "DEPTH_TO_SPACE": Kernel("DepthToSpaceOptions", 2, ("2.1.0", "2.5.0"), equal_scales=True),
    "SPACE_TO_DEPTH": Kernel("SpaceToDepthOptions", 2, ("1.5.0", "1.14.0"), equal_scales=True),
    "RESIZE_BILINEAR": Kernel("ResizeBilinearOptions", 2, ("1.7.0", "1.14.0", "2.2.0"), equal_scales=True),
    "RESIZE_NEAREST_NEIGHBOR": Kernel(
        "ResizeNearestNeighborOptions", 2, ("1.13.1", "1.14.0", "2.3.0"), equal_scales=True
    ),
    "DYNAMIC_UPDATE_SLICE": Kernel("DynamicUpdateSliceOptions", 1, ("2.9.0",), equal_scales=True),
    "SHAPE": Kernel("ShapeOptions", 1, ("1.10.0",)),
    "FILL": Kernel("FillOptions", 3, ("1.13.0", "2.3.0", "2.5.0")),
    # control flow
    "IF": Kernel("IfOptions", 1, ("1.15.0",)),
    "WHILE": Kernel("WhileOptions", 1, ("1.15.0",)),
    # types
    "CAST": Kernel("CastOptions", 3, ("1.5.0", "2.7.0", "2.8.0")),
    "QUANTIZE": Kernel("QuantizeOptions", 1, ("1.14.0",)),
    "DEQUANTIZE": Kernel("DequantizeOptions", 2, ("1.13.1", "1.14.0", "1.15.0", "2.2.0", "2.7.0")),
}


def version_of(code: str, inputs: Sequence[Tensor | None], output: Tensor, options: Mapping[str, Any]) -> int:
    """The lowest version that has what these operands and options need."""
    tensors = [tensor for tensor in inputs if tensor is not None]
    needed = [1 if code != "BROADCAST_TO" else 2]
    if any(tensor.is_int8 for tensor in (*tensors, output)) and code != "QUANTIZE":
        needed.append(KERNELS[code].int8)
    needed += [version for applies, version in _special(code, tensors, options) if applies]
    return max(needed)


def _special(code: str, tensors: Sequence[Tensor], options: Mapping[str, Any]) -> list[tuple[bool, int]]:
    first, last, kind, rank = tensors[0], tensors[-1], tensors[0].dtype.name, len(tensors[0].shape)
    spread = code in {"SUB", "DIV", "MAXIMUM", "MINIMUM"} and len({tensor.shape for tensor in tensors}) > 1
    wide = max(len(tensor.shape) for tensor in tensors) > 4
    match code:
        case "CONV_2D":
            dynamic = kind == "float32" and tensors[1].is_int8
            return [(tensors[1].shape[3] != first.shape[3], 6), (dynamic, 5)]
        case "DEPTHWISE_CONV_2D":
            return [(options["dilationWFactor"] > 1 or options["dilationHFactor"] > 1, 2)]
        case "FULLY_CONNECTED":
            return [(options["keepNumDims"], 5)]
        case "TRANSPOSE_CONV":
            return [(len(tensors) == 4, 3)]
        case "ADD":
            return [(kind == "int64", 4)]
        case "SUB":
            return [(spread and wide, 3), (kind == "int64", 4)]
        case "MUL":
            return [(kind == "int64", 5)]
        case "DIV":
            return [(spread and wide, 2)]
        case "MAXIMUM" | "MINIMUM":
            return [(spread and wide, 3)]
        case "ABS":
            return [(kind == "int32", 5)]
        case "SIGN":
            return [(kind == "int32", 2)]
        case "SPLIT":
            return [(last.dtype.name == "int32", 3)]
        case "TRANSPOSE":
            return [(kind == "bool", 3), (rank > 4, 4), (rank > 5, 6)]
        case "SLICE":
            return [(rank > 4, 5)]
        case "STRIDED_SLICE":
            return [(kind == "bool", 3), (rank > 4, 4)]
        case "PAD" | "PADV2":
            return [(rank > 4, 4)]
        case "FILL":
            return [(last.dtype.name == "bool", 2)]
        case "GATHER":
            return [(kind == "bool", 3), (options["batchDims"] != 0, 5)]
        case "ARG_MAX" | "ARG_MIN":
            return [(kind == "bool", 3)]
        case "RESIZE_BILINEAR":
            return [(options["halfPixelCenters"], 3)]
        case "RESIZE_NEAREST_NEIGHBOR":
            return [(options["halfPixelCenters"] or options["alignCorners"], 3)]
        case "DEQUANTIZE":
            per_channel = last.quantization is not None and last.quantization.scale.size > 1
            return [(kind == "float16", 3), (per_channel, 5)]
    return []


def first_runtime(code: str, version: int) -> str:
    """The first TensorFlow release whose runtime knows this version of the operator."""
    return KERNELS[code].runtime[version - 1]
