"""What precision a file truly has, decided from its operators and not from its name."""

from collections import Counter
from collections.abc import Iterable, Mapping

from edgewright.devices.spec import Precision
from edgewright.runtimes.dtypes import elements
from edgewright.runtimes.read.model import HEAVY, Op, Tensor

DYNAMIC = {"MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM"}
STORED = {
    "int4": Precision.INT4_WEIGHTS,
    "uint4": Precision.INT4_WEIGHTS,
    "int8": Precision.INT8_WEIGHTS,
    "uint8": Precision.INT8_WEIGHTS,
    "float16": Precision.FLOAT16,
}


def true_precision(ops: Iterable[Op], tensors: Mapping[str, Tensor]) -> Precision:
    """Of convolutions, matrix products and recurrent layers (without any: of all operators), what most weights have.

    Integer ones beside float ones make it mixed; those that quantize their input at run time, int8-dynamic.
    """
    ops = list(ops)
    shares: Counter[Precision] = Counter()
    for op in [op for op in ops if op.kind in HEAVY] or ops:
        weight = _weight(op, tensors)
        shares[_precision(op, weight, tensors)] += elements(weight.shape) if weight else 1
    if not shares:
        return Precision.FLOAT32
    if Precision.INT8 in shares and len(shares) > 1:
        return Precision.MIXED
    if Precision.INT8_DYNAMIC in shares:
        return Precision.INT8_DYNAMIC
    return max(shares, key=lambda precision: (shares[precision], precision.value))


def _weight(op: Op, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Its largest constant."""
    constants = [tensors[name] for name in op.inputs if tensors[name].constant]
    return max(constants, key=lambda tensor: elements(tensor.shape), default=None)


def _precision(op: Op, weight: Tensor | None, tensors: Mapping[str, Tensor]) -> Precision:
    values = [tensors[name].dtype for name in op.inputs if not tensors[name].constant]
    if op.compute_dtype in ("int8", "uint8", "int16"):
        dynamic = op.op_type in DYNAMIC or any(dtype.startswith("float") for dtype in values)
        return Precision.INT8_DYNAMIC if dynamic else Precision.INT8
    if weight and weight.coding != "plain":
        return Precision(weight.coding)
    if weight and weight.dtype in STORED:
        return STORED[weight.dtype]
    return Precision.FLOAT16 if op.compute_dtype == "float16" else Precision.FLOAT32
