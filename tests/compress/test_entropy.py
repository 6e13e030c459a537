"""Sizes of indices when they are coded by how often each occurs."""

import zlib

import numpy as np

from edgewright.compress.entropy import coded


def test_a_known_distribution_takes_what_shannon_and_huffman_say():
    indices = np.repeat(np.arange(4, dtype=np.uint8), [800, 400, 200, 200])
    found = coded(indices.reshape(40, 40))
    assert found.entropy_bytes == found.huffman_bytes == (800 + 2 * 400 + 3 * 400) // 8
    assert found.zlib_bytes == len(zlib.compress(indices.tobytes(), 9))


def test_huffman_lies_within_a_bit_a_symbol_of_the_bound():
    indices = np.random.default_rng(0).binomial(15, 0.3, 10_000).astype(np.uint8)
    found = coded(indices)
    assert found.entropy_bytes < found.huffman_bytes < found.entropy_bytes + len(indices) / 8
    assert found.huffman_bytes < 0.85 * len(indices) / 2  # of 4-bit indices


def test_one_value_takes_no_bits():
    assert coded(np.zeros(100, np.uint8)).entropy_bytes == coded(np.zeros(100, np.uint8)).huffman_bytes == 0
