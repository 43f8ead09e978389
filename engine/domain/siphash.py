"""SipHash-2-4 of byte ranges (Aumasson and Bernstein, SipHash: a fast short-input PRF, INDOCRYPT 2012), for kernels."""

from typing import Any

import numpy as np
from numba import njit, uint64

from engine.domain.raw_bytes import byte_at, word_at

_A, _B, _C, _D = (
    np.uint64(word) for word in (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
)


@njit(cache=True, nogil=True, inline="always")
def _rotated(word: Any, bits: int) -> Any:
    return uint64((word << uint64(bits)) | (word >> uint64(64 - bits)))


@njit(cache=True, nogil=True, inline="always")
def _round(a: Any, b: Any, c: Any, d: Any) -> tuple[Any, Any, Any, Any]:
    a = uint64(a + b)
    c = uint64(c + d)
    b = _rotated(b, 13) ^ a
    d = _rotated(d, 16) ^ c
    a = _rotated(a, 32)
    c = uint64(c + b)
    a = uint64(a + d)
    b = _rotated(b, 17) ^ c
    d = _rotated(d, 21) ^ a
    c = _rotated(c, 32)
    return a, b, c, d


@njit(cache=True, nogil=True)
def siphash(start: int, length: int, low: np.uint64, high: np.uint64) -> Any:
    """The 64-bit hash of the bytes at address `start` under the key of two words."""
    a, b, c, d = low ^ _A, high ^ _B, low ^ _C, high ^ _D
    whole = start + (length & ~7)
    at = start
    while at < whole:
        word = word_at(at)
        d ^= word
        a, b, c, d = _round(a, b, c, d)
        a, b, c, d = _round(a, b, c, d)
        a ^= word
        at += 8
    word = uint64(length & 255) << uint64(56)
    for i in range(length & 7):
        word |= uint64(byte_at(at + i)) << uint64(8 * i)
    d ^= word
    a, b, c, d = _round(a, b, c, d)
    a, b, c, d = _round(a, b, c, d)
    a ^= word
    c ^= uint64(255)
    for _ in range(4):
        a, b, c, d = _round(a, b, c, d)
    return uint64(a ^ b ^ c ^ d)
