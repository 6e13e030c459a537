"""The neutral op table: what a model file holds, whatever its format. For inspect, verify, footprint and latency."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgewright.devices.spec import Format, Precision
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.dtypes import elements

Kind = Literal[
    "conv", "depthwise_conv", "linear", "matmul", "pool", "elementwise", "activation", "reshape", "transpose", "pad",
    "concat", "quantize", "dequantize", "normalization", "softmax", "reduce", "gather", "resize", "recurrent", "other",
]  # fmt: skip
Coding = Literal["plain", "palettized", "sparse"]
HEAVY: frozenset[Kind] = frozenset({"conv", "depthwise_conv", "linear", "matmul", "recurrent"})


@dataclass(frozen=True)
class Tensor:
    """`bytes` is what the file stores (constants) or memory holds; a length that is not fixed counts as 1.

    real = (stored - zero_point) × scale, one pair a tensor or one a slice of `quantized_dimension`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    bytes: int
    constant: bool
    scale: tuple[float, ...] | None = None
    zero_point: tuple[int, ...] | None = None
    quantized_dimension: int | None = None
    coding: Coding = "plain"


@dataclass(frozen=True)
class Op:
    """`inputs` without the absent ones; `macs` only for convolutions and matrix products; `op_type` is the format's."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    weight_bytes: int
    compute_dtype: str
    op_type: str


@dataclass(frozen=True)
class Model:
    """A file's main graph in execution order. Constants are listed as stored; what decodes them is no operator here."""

    format: Format
    precision: Precision
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    contract: Contract
    size_bytes: int
    metadata: Mapping[str, str]

    @property
    def macs(self) -> int:
        return sum(op.macs for op in self.ops)

    @property
    def parameter_bytes(self) -> int:
        """Constants as stored, each once."""
        return sum(tensor.bytes for tensor in self.tensors.values() if tensor.constant)

    @property
    def parameters(self) -> int:
        """Numbers in constants; a shared one counts once."""
        return sum(elements(tensor.shape) for tensor in self.tensors.values() if tensor.constant)

    @property
    def transposes(self) -> int:
        return self.kinds["transpose"]

    @property
    def kinds(self) -> Counter[Kind]:
        return Counter(op.kind for op in self.ops)

    @property
    def int8_share(self) -> float:
        """The part of all MACs whose operator computes on 8-bit integers: 0 to 1, 0 without MACs."""
        return sum(op.macs for op in self.ops if op.compute_dtype in ("int8", "uint8")) / (self.macs or 1)


def macs_per_weight(positions: int, weight: tuple[int | None, ...], axis: int) -> int:
    """MACs of a convolution or linear layer: `positions` values, each using the weights of one slice along `axis`.

    Plain: the output's elements, axis = output channels. Transposed: the input's elements, axis = input channels.
    """
    return positions * elements(weight) // (weight[axis] or 1)


def matmul_macs(left: tuple[int | None, ...], output: tuple[int | None, ...]) -> int:
    """MACs of a product, whichever operands are transposed: the left matrix holds rows × inner values."""
    rows = output[-2] if len(output) > 1 else 1
    return elements(output) * (elements(left[-2:]) // (rows or 1))
