"""ONNX → `tflm`: a .tflite file for microcontrollers, of operators that tflite-micro has, proven in its interpreter.

What tflite-micro lacks is decomposed where there is an expansion, else refused. The file leaves out what no
microcontroller reads (names of inner tensors, the signature, scales of biases). Every file runs once in
tflite-micro before it is given out, which also measures its arena.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgewright.errors import BadInput, BadModel, UnsupportedOps, nearest
from edgewright.export.onnx.quantize.ends import IoType, check_io
from edgewright.export.onnx.quantize.recode import recode
from edgewright.export.steps import Job, Notes, step
from edgewright.export.tflite.builder import Op
from edgewright.export.tflite.convert import LAYOUTS, NEEDS, Converted, check_int8, convert, load, write
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.micro import arena_bytes

if TYPE_CHECKING:
    import onnx_ir as ir

NEEDS_MICRO = NEEDS | {"tflite-micro": "tflite-micro"}


@dataclass(frozen=True)
class TflmOptions:
    """`layout`: whether images enter and leave in the original's order, or channels last without a TRANSPOSE."""

    layout: Literal["original", "nhwc"] = "original"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise BadInput(f"layout {self.layout!r}: {nearest(str(self.layout), LAYOUTS)}")


@dataclass(frozen=True)
class TflmInt8Options(TflmOptions):
    """`io`: codes as inputs and outputs, whose scale and zero point the contract tells, or floats."""

    io: Literal["float", "int8", "uint8"] = "int8"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_io(self.io)


@step(source="onnx:float32", target="tflm:float32", needs=NEEDS_MICRO, cost=0.2, options=TflmOptions)
def tflm_float32(source: Artifact, out: Path, job: Job, options: TflmOptions) -> Notes:  # noqa: ARG001
    """Float weights and arithmetic."""
    return _written(out, convert_micro(partial(load, source.path), layout=options.layout))


@step(source="onnx:int8", target="tflm:int8", needs=NEEDS_MICRO, cost=0.2, options=TflmInt8Options)
def tflm_int8(source: Artifact, out: Path, job: Job, options: TflmInt8Options) -> Notes:  # noqa: ARG001
    """The int8 truth of the ONNX file, scale for scale; raises Error where a heavy operator of it is not int8."""
    converted = convert_micro(partial(_signed, source.path), layout=options.layout, io=options.io)
    check_int8(converted, source.path)
    return _written(out, converted)


@step(source="onnx:mixed", target="tflm:mixed", needs=NEEDS_MICRO, cost=0.2, options=TflmOptions)
def tflm_mixed(source: Artifact, out: Path, job: Job, options: TflmOptions) -> Notes:  # noqa: ARG001
    """The plan of the ONNX file: int8 kernels, and float32 ones between DEQUANTIZE and QUANTIZE."""
    return _written(out, convert_micro(partial(load, source.path), layout=options.layout))


def convert_micro(load_model: Callable[[], "ir.Model"], *, layout: str = "original", io: IoType = "float") -> Converted:
    """Lower what `load_model` gives, afresh at each call, to operators of tflite-micro.

    A node that is refused as it is, is asked for once more in simpler operators. Raises UnsupportedOps listing what
    even those cannot express, BadModel when a shape is unknown.
    """
    spelled_out: frozenset[str] = frozenset()
    while True:
        try:
            return convert(load_model(), layout=layout, io=io, micro=True, spelled_out=spelled_out)
        except UnsupportedOps as refused:
            if refused.missing.keys() <= spelled_out:
                raise
            spelled_out |= refused.missing.keys()


def _signed(path: Path) -> "ir.Model":
    model = load(path)
    recode(model, "s8s8")
    return model


def _written(out: Path, converted: Converted) -> Notes:
    """Write the file, and run it in tflite-micro, which names its arena. What that refuses leaves nothing."""
    notes = write(out, converted)
    try:
        return notes | {"arena_bytes": arena_bytes(out)}
    except BadModel as error:
        out.unlink()
        raise _refusal(str(error), converted.ops) or error from None


def _refusal(text: str, ops: Sequence[Op]) -> UnsupportedOps | None:
    """What the interpreter says of an operator, with the name of the tensor that it gives."""
    found = re.search(r"Node (\w+) \(number (\d+)\)", text)
    if found is None or int(found[2]) >= len(ops) or ops[int(found[2])].code != found[1]:
        return None
    said = " ".join(text[: found.start()].partition("tflite-micro")[2].split())
    return UnsupportedOps("tflm", {found[1]: (f"tflite-micro {said}", [ops[int(found[2])].outputs[0].name])})
