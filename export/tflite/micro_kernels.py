"""What tflite-micro has: its builtin kernels, each by the method of `MicroMutableOpResolver` that registers it.

Source: `tensorflow/lite/micro/micro_mutable_op_resolver.h` and `python/tflite_micro/python_ops_resolver.cc` of
tensorflow/tflite-micro at 90b983c2 (2026-08). Its interpreter reads no operator versions: what a kernel cannot do (an
element type, a rank, an option) it refuses when it prepares or runs, so `micro.py` also runs a file there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.tflite.tensor import Quantization, Tensor

RESOLVER_METHOD: Mapping[str, str] = {
    "ABS": "AddAbs", "ADD": "AddAdd", "ADD_N": "AddAddN", "ARG_MAX": "AddArgMax", "ARG_MIN": "AddArgMin",
    "ASSIGN_VARIABLE": "AddAssignVariable", "AVERAGE_POOL_2D": "AddAveragePool2D", "BATCH_MATMUL": "AddBatchMatMul",
    "BATCH_TO_SPACE_ND": "AddBatchToSpaceNd", "BROADCAST_ARGS": "AddBroadcastArgs", "BROADCAST_TO": "AddBroadcastTo",
    "CALL_ONCE": "AddCallOnce", "CAST": "AddCast", "CEIL": "AddCeil", "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D", "COS": "AddCos", "CUMSUM": "AddCumSum", "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "DEPTH_TO_SPACE": "AddDepthToSpace", "DEQUANTIZE": "AddDequantize", "DIV": "AddDiv",
    "DYNAMIC_UPDATE_SLICE": "AddDynamicUpdateSlice", "ELU": "AddElu", "EMBEDDING_LOOKUP": "AddEmbeddingLookup",
    "EQUAL": "AddEqual", "EXP": "AddExp", "EXPAND_DIMS": "AddExpandDims", "FILL": "AddFill", "FLOOR": "AddFloor",
    "FLOOR_DIV": "AddFloorDiv", "FLOOR_MOD": "AddFloorMod", "FULLY_CONNECTED": "AddFullyConnected",
    "GATHER": "AddGather", "GATHER_ND": "AddGatherNd", "GREATER": "AddGreater", "GREATER_EQUAL": "AddGreaterEqual",
    "HARD_SWISH": "AddHardSwish", "IF": "AddIf", "L2_NORMALIZATION": "AddL2Normalization",
    "L2_POOL_2D": "AddL2Pool2D", "LEAKY_RELU": "AddLeakyRelu", "LESS": "AddLess", "LESS_EQUAL": "AddLessEqual",
    "LOG": "AddLog", "LOGICAL_AND": "AddLogicalAnd", "LOGICAL_NOT": "AddLogicalNot", "LOGICAL_OR": "AddLogicalOr",
    "LOGISTIC": "AddLogistic", "LOG_SOFTMAX": "AddLogSoftmax", "MAXIMUM": "AddMaximum", "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean", "MINIMUM": "AddMinimum", "MIRROR_PAD": "AddMirrorPad", "MUL": "AddMul", "NEG": "AddNeg",
    "NOT_EQUAL": "AddNotEqual", "PACK": "AddPack", "PAD": "AddPad", "PADV2": "AddPadV2", "PRELU": "AddPrelu",
    "QUANTIZE": "AddQuantize", "READ_VARIABLE": "AddReadVariable", "REDUCE_ALL": "AddReduceAll",
    "REDUCE_MAX": "AddReduceMax", "REDUCE_MIN": "AddReduceMin", "RELU": "AddRelu", "RELU6": "AddRelu6",
    "RESHAPE": "AddReshape", "RESIZE_BILINEAR": "AddResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor", "REVERSE_V2": "AddReverseV2", "ROUND": "AddRound",
    "RSQRT": "AddRsqrt", "SELECT_V2": "AddSelectV2", "SHAPE": "AddShape", "SIN": "AddSin", "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax", "SPACE_TO_BATCH_ND": "AddSpaceToBatchNd", "SPACE_TO_DEPTH": "AddSpaceToDepth",
    "SPLIT": "AddSplit", "SPLIT_V": "AddSplitV", "SQRT": "AddSqrt", "SQUARE": "AddSquare",
    "SQUARED_DIFFERENCE": "AddSquaredDifference", "SQUEEZE": "AddSqueeze", "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub", "SUM": "AddSum", "SVDF": "AddSvdf", "TANH": "AddTanh", "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv", "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "UNPACK": "AddUnpack", "VAR_HANDLE": "AddVarHandle", "WHILE": "AddWhile", "ZEROS_LIKE": "AddZerosLike",
}  # fmt: skip
"""TFLite operator → method, without the custom operators (signal processing, Ethos-U)."""

BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Position of the bias."""


def without_bias_scales(code: str, inputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The operands, the int32 bias bare where weights have a scale per channel.

    Its scale is that of input × weights, which is how these kernels know it: 4 bytes a channel that nothing reads.
    """
    at = BIAS.get(code, len(inputs))
    bias, weights = (inputs[at], inputs[1]) if at < len(inputs) else (None, None)
    if bias is None or weights is None or weights.quantization is None or weights.quantization.scale.size == 1:
        return inputs
    return (*inputs[:at], replace(bias, quantization=None), *inputs[at + 1 :])


INT32 = np.iinfo(np.int32)

BYTES = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))
"""Bare uint8, as images come: CAST takes none here, DEQUANTIZE does."""


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """int64 as int32, which is what the kernels compute with; values beyond it stay int64, for `lacks` to refuse."""
    fits = array.dtype == np.int64 and (array.size == 0 or INT32.min <= array.min() <= array.max() <= INT32.max)
    return array.astype(np.int32) if fits else array


def narrowed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Element types that an options table names, as `narrowed` has them."""
    return {field: "INT32" if value == "INT64" else value for field, value in options.items()}


def lacks(code: str, inputs: Sequence[Tensor | None]) -> str | None:
    """Why tflite-micro cannot run an operator on these operands, as far as a table can tell."""
    if code not in RESOLVER_METHOD:
        return f"tflite-micro has no {code}"
    wide = [tensor.name for tensor in inputs if tensor is not None and tensor.dtype == np.int64]
    return f"tflite-micro has no int64: {', '.join(wide)} holds numbers beyond int32" if wide else None
