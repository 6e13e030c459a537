"""What indices into a table take when they are coded by how often each occurs, as an app's package does."""

import heapq
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Coded:
    """Bytes of the indices alone: Shannon's bound for independent ones, a Huffman code of whole bits, and zlib."""

    entropy_bytes: int
    huffman_bytes: int
    zlib_bytes: int


def coded(indices: NDArray[Any]) -> Coded:
    """The three sizes of indices below 256. Huffman's third stage: Han et al. 2016 (arXiv 1510.00149)."""
    counts = np.unique(indices, return_counts=True)[1]
    shares = counts / counts.sum()
    bound_bits = float(-(counts * np.log2(shares)).sum())
    packed = zlib.compress(np.ascontiguousarray(indices, np.uint8).tobytes(), 9)
    return Coded(_bytes(bound_bits), _bytes(_huffman_bits(counts.tolist())), len(packed))


def _huffman_bits(counts: list[int]) -> int:
    """Of all symbols together: each merge of the two rarest adds a bit to those below it."""
    heap, bits = sorted(counts), 0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        bits += both
        heapq.heappush(heap, both)
    return bits


def _bytes(bits: float) -> int:
    return int(-(-bits // 8))
