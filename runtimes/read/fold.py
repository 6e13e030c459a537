"""Reads quantization as what it means: stored constants, and operators that compute on integers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgewright.runtimes.dtypes import elements
from edgewright.runtimes.read.model import HEAVY, Op, Tensor

Graph = tuple[list[Op], dict[str, Tensor]]


def folded(
    ops: Iterable[Op], tensors: Mapping[str, Tensor], inputs: Iterable[str], outputs: Iterable[str], *, fuse: bool
) -> Graph:
    """Constants as stored, weight bytes filled in, unused tensors left out.

    `fuse` reads QDQ as integer operators, for formats whose runtimes do so; TFLite runs what is written.
    """
    kept, described = decode_constants(ops, tensors), dict(tensors)
    if fuse:
        kept, described = fuse_qdq(kept, described, set(outputs))
    used = {name for op in kept for name in (*op.inputs, *op.outputs)}.union(inputs, outputs)
    described = {name: tensor for name, tensor in described.items() if name in used}
    return [replace(op, weight_bytes=_weight_bytes(op, described)) for op in kept], described


def decode_constants(ops: Iterable[Op], tensors: Mapping[str, Tensor]) -> list[Op]:
    """stored → dequantize (or densify) → op  ⇒  stored → op"""
    stored: dict[str, str] = {}
    kept: list[Op] = []
    for op in ops:
        op = replace(op, inputs=tuple(stored.get(name, name) for name in op.inputs))
        if op.kind == "dequantize" and tensors[op.inputs[0]].constant:
            stored[op.outputs[0]] = op.inputs[0]
        else:
            kept.append(op)
    return kept


def fuse_qdq(ops: list[Op], tensors: Mapping[str, Tensor], outputs: set[str]) -> Graph:
    """x → DQ → op → y → Q → z → DQ →  ⇒  x → int8 op → y →, where y has the dtype and scale of z.

    An operator is an integer one when all values that it reads come from a DQ and all that it gives go to one Q alone.
    """
    readers: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        for name in op.inputs:
            readers[name].append(op)
    dequantized = {op.outputs[0]: op.inputs[0] for op in ops if op.kind == "dequantize"}
    quantizer = {
        name: found[0].outputs[0]
        for name, found in readers.items()
        if len(found) == 1 and found[0].kind == "quantize" and name not in outputs
    }
    integer = {id(op) for op in ops if _computes_on_integers(op, tensors, dequantized, quantizer)}
    renamed = {quantizer[name]: name for op in ops if id(op) in integer for name in op.outputs}
    described = dict(tensors) | {new: replace(tensors[old], name=new) for old, new in renamed.items()}
    rewritten: list[Op] = []
    for op in ops:
        if (op.kind == "quantize" and op.outputs[0] in renamed) or (
            op.kind == "dequantize"
            and op.outputs[0] not in outputs
            and all(id(reader) in integer for reader in readers[op.outputs[0]])
        ):
            continue
        source = dequantized if id(op) in integer else {}
        names = tuple(renamed.get(source.get(name, name), source.get(name, name)) for name in op.inputs)
        op = replace(op, inputs=names)
        rewritten.append(replace(op, compute_dtype=described[names[0]].dtype) if source else op)
    return rewritten, described


def _computes_on_integers(
    op: Op, tensors: Mapping[str, Tensor], dequantized: Mapping[str, str], quantizer: Mapping[str, str]
) -> bool:
    if op.kind in ("quantize", "dequantize", "recurrent") or not all(name in quantizer for name in op.outputs):
        return False
    values = [name for name in op.inputs if not tensors[name].constant]
    constants = [tensors[name] for name in op.inputs if tensors[name].constant]
    if op.kind in HEAVY:  # a bias may be float: Core ML keeps it so
        constants = constants[:1]
    in_float = any(tensor.dtype.startswith("float") and elements(tensor.shape) > 1 for tensor in constants)
    return bool(values) and not in_float and all(name in dequantized for name in values)


def _weight_bytes(op: Op, tensors: Mapping[str, Tensor]) -> int:
    return sum(tensors[name].bytes for name in set(op.inputs) if tensors[name].constant)
