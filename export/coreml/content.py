"""What a written package holds: operations, bytes of weights, and where each compressed weight lies."""

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

WEIGHT_FILE = "Data/com.apple.CoreML/weights/weight.bin"
CODES = {"constexpr_affine_dequantize": "quantized_data", "constexpr_blockwise_shift_scale": "data"}


def describe(spec: Any, package: Path) -> dict[str, Any]:
    """JSON-able facts, read from the specification that was written.

    coremltools keeps tensors of fewer than ten elements in the program text: they are int8 there as well, and their
    row says ``"in": "program"``.
    """
    operations = main_operations(spec)
    weights = package / WEIGHT_FILE
    compressed = [_compressed(operation) for operation in operations if _holds_codes(operation)]
    return {
        "operations": dict(sorted(Counter(op.type for op in operations if op.type != "const").items())),
        "weight_bytes": weights.stat().st_size if weights.exists() else 0,
        "int8_weight_bytes": sum(row["bytes"] for row in compressed),
        "compressed": compressed,
    }


def main_operations(spec: Any) -> list[Any]:
    """The operations of the one function, in order."""
    function = spec.mlProgram.functions["main"]
    return list(function.block_specializations[function.opset].operations)


def _holds_codes(operation: Any) -> bool:
    """Whether codes stand in the operation, and not what another one expands."""
    if operation.type not in CODES:
        return False
    given = operation.inputs[CODES[operation.type]].arguments if CODES[operation.type] in operation.inputs else ()
    return not any(argument.name for argument in given)


def _compressed(operation: Any) -> dict[str, Any]:
    name = CODES[operation.type]
    inputs = operation.inputs[name].arguments if name in operation.inputs else ()
    value = inputs[0].value if inputs else operation.attributes[name]
    shape = [dimension.constant.size for dimension in value.type.tensorType.dimensions]
    place = "weight.bin" if value.HasField("blobFileValue") else "program"
    return {"name": operation.outputs[0].name, "shape": shape, "bytes": prod(shape), "in": place}
