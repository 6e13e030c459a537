"""The same integers, written as another integer type: codes and zero points of the int8 truth move by 128 together.

    form    activations  weights   made for
    s8s8    int8         int8      Arm, and every other format, which is translated from it
    u8s8    uint8        int8      x86 with VNNI, which multiplies unsigned by signed bytes
    u8u8    uint8        uint8     x86 without VNNI, whose u8s8 kernels saturate at 16 bits

(code + 128) - (zero point + 128) = code - zero point: no value changes. Biases stay int32.
"""

import platform
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgewright.errors import BadInput, BadModel, nearest
from edgewright.export.onnx.graph import add_initializer, nodes_of

if TYPE_CHECKING:
    import onnx_ir as ir

CodesForm = Literal["s8s8", "u8s8", "u8u8"]
FORMS: tuple[CodesForm, ...] = ("s8s8", "u8s8", "u8u8")
FORM_KEY = "edgewright.form"
"""Metadata of a recoded file."""

SHIFT = 128
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
VNNI = {"avx512_vnni", "avx_vnni", "avx512vnni", "avxvnni"}
_CPUINFO = Path("/proc/cpuinfo")


def choose_form(asked: str, machine: str = "", flags: Collection[str] | None = None) -> tuple[CodesForm, str]:
    """The form and why: as asked, or for "auto" by the processor's `machine` and `flags` (none given: this one's).

    Raises BadInput for an unknown form.
    """
    for form in FORMS:
        if asked == form:
            return form, "asked for"
    if asked != "auto":
        raise BadInput(f"form {asked!r}: {nearest(asked, ('auto', *FORMS))}")
    machine = (machine or platform.machine()).lower()
    if machine not in ("x86_64", "amd64", "i386", "i686"):
        return "s8s8", f"{machine}: its int8 kernels multiply signed by signed bytes"
    if VNNI & set(_cpu_flags() if flags is None else flags):
        return "u8s8", f"{machine} with VNNI: unsigned by signed bytes, exactly"
    return "u8u8", f"{machine} without VNNI: its kernels for u8s8 saturate at 16 bits, those for u8u8 are exact"


def recode(model: "ir.Model", form: CodesForm) -> int:
    """Write all 8-bit codes in `form`, in place; how many Q and DQ nodes changed. The same form again changes nothing.

    Raises BadModel when codes are used by anything but QuantizeLinear and DequantizeLinear, or are inputs or outputs.
    """
    import onnx_ir as ir

    changes: dict[ir.Node, ir.DataType] = {}
    for node in nodes_of(model, "QuantizeLinear", "DequantizeLinear"):
        unsigned = form == "u8u8" or (form == "u8s8" and not _is_weight(node))
        wanted = ir.DataType.UINT8 if unsigned else ir.DataType.INT8
        if {_codes_type(node), wanted} == {ir.DataType.INT8, ir.DataType.UINT8}:
            changes[node] = wanted
    _require_pairs(changes)
    moved: dict[ir.Value, ir.Value] = {}
    for node, wanted in changes.items():
        codes = _codes(node)
        node.attributes.pop("output_dtype", None)
        before = ir.DataType.UINT8 if wanted == ir.DataType.INT8 else ir.DataType.INT8
        _move(node, 2, _zero_point(node, before), moved)
        if codes.is_initializer():
            _move(node, 0, codes, moved)
        else:
            codes.dtype = wanted
    _forget(model, moved)
    if changes or FORM_KEY in model.metadata_props:
        model.metadata_props[FORM_KEY] = form
    return len(changes)


def _cpu_flags() -> list[str]:
    if not _CPUINFO.exists():
        return []
    lines = _CPUINFO.read_text().splitlines()
    return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])


def _codes(node: "ir.Node") -> "ir.Value":
    codes = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    assert codes is not None
    return codes


def _codes_type(node: "ir.Node") -> "ir.DataType | None":
    """By the zero point; without one a DQ has it by its codes, a Q by its attribute, else (ONNX says) uint8."""
    import onnx_ir as ir

    zero_point, codes = node.inputs[2] if len(node.inputs) > 2 else None, _codes(node)
    for value in (zero_point, codes):
        if value is not None and value.const_value is not None:
            return value.const_value.dtype
    if node.op_type == "QuantizeLinear":
        return ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)
    producer = codes.producer()
    return codes.dtype if producer is None or producer.op_type != "QuantizeLinear" else _codes_type(producer)


def _is_weight(node: "ir.Node") -> bool:
    """Whether this DQ gives the constant second operand of a convolution or matrix product."""
    constant = node.op_type == "DequantizeLinear" and node.inputs[0] is not None and node.inputs[0].is_initializer()
    return constant and any(use.idx == 1 and use.node.op_type in WEIGHTED for use in node.outputs[0].uses())


def _require_pairs(ends: "Iterable[ir.Node]") -> None:
    """Every code is written by a Q or constant, and read by DQ alone."""
    problems = []
    for codes in map(_codes, ends):
        producer = codes.producer()
        made = codes.is_initializer() or (producer is not None and producer.op_type == "QuantizeLinear")
        read = all(use.node.op_type == "DequantizeLinear" for use in codes.uses())
        if not made or not read or codes.is_graph_output():
            problems.append(str(codes.name))
    if problems:
        raise BadModel(
            f"codes that are inputs, outputs or operands of others than Q and DQ cannot be recoded: "
            f"{', '.join(dict.fromkeys(problems))}; give the file with float inputs and outputs that `onnx:int8` made"
        )


def _zero_point(node: "ir.Node", kind: "ir.DataType") -> "ir.Value":
    """The one of the node, written out where absent means zero."""
    zero_point, scale, graph = node.inputs[2] if len(node.inputs) > 2 else None, node.inputs[1], node.graph
    if zero_point is not None:
        return zero_point
    if scale is None or scale.const_value is None or graph is None:
        raise BadModel(f"{node.name}: its scale is computed, so it cannot be recoded")
    node.resize_inputs(3)
    return add_initializer(graph, f"{node.name}_zero_point", np.zeros(scale.const_value.shape.numpy(), kind.numpy()))


def _move(node: "ir.Node", index: int, value: "ir.Value", moved: "dict[ir.Value, ir.Value]") -> None:
    """Let `node` read the constant in the other type; who keeps the type keeps the old constant."""
    if value not in moved:
        if value.const_value is None or node.graph is None:
            raise BadModel(f"{node.name}: {value.name} is computed, so it cannot be recoded")
        codes = value.const_value.numpy()
        shift, kind = (SHIFT, np.uint8) if codes.dtype == np.int8 else (-SHIFT, np.int8)
        moved[value] = add_initializer(node.graph, str(value.name), (codes.astype(np.int16) + shift).astype(kind))
    node.replace_input_with(index, moved[value])


def _forget(model: "ir.Model", moved: "Mapping[ir.Value, ir.Value]") -> None:
    """The constants that nothing reads any more are gone, and the new ones take their names."""
    for old, new in moved.items():
        if not old.uses():
            name = str(old.name)
            del model.graph.initializers[name]
            new.name = name
