"""Bytes and words by their address, for kernels that read text.

An array that is handed from kernel to kernel is counted each time, which costs more than a short text takes to read,
and an index may be negative, which is asked each time. An address is a number. What it points to is the caller's to
know and to keep: kernels take addresses of arrays that they were called with.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
_ONES, _TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES, _DELETES = (np.uint64(byte * 0x0101010101010101) for byte in (34, 92, 127))
_BLANKS = np.uint64(32 * 0x0101010101010101)


@intrinsic
def byte_at(typing: Any, address: Any) -> Any:
    """The byte there, as an integer."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = builder.load(builder.inttoptr(arguments[0], context.get_value_type(types.uint8).as_pointer()))
        return builder.zext(byte, context.get_value_type(types.int64))

    return types.int64(types.int64), build


@intrinsic
def word_at(typing: Any, address: Any) -> Any:
    """The eight bytes from there on, the first the lowest."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = builder.load(builder.inttoptr(arguments[0], context.get_value_type(types.uint64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(types.int64), build


@intrinsic
def trailing_zeros(typing: Any, word: Any) -> Any:
    """Position of the lowest bit that is set; `word` is uint64 and not 0."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 1))

    return types.uint64(types.uint64), build


@njit(cache=True, nogil=True)
def address_of(data: Bytes) -> Any:
    """Where the contiguous array begins, as an integer."""
    return np.int64(data.ctypes.data)


@njit(cache=True, nogil=True)
def same(one: int, other: int, length: int) -> bool:
    """Whether the same bytes stand at both addresses."""
    if length < 8:
        for i in range(length):  # noqa: SIM110 - numba compiles no generator
            if byte_at(one + i) != byte_at(other + i):
                return False
        return True
    for i in range(0, length - 7, 8):
        if word_at(one + i) != word_at(other + i):
            return False
    return bool(word_at(one + length - 8) == word_at(other + length - 8))


@njit(cache=True, nogil=True)
def _zeros(word: Any) -> Any:
    """The top bit of each byte that is zero, exact for the lowest of them."""
    return (word - _ONES) & ~word & _TOPS


@njit(cache=True, nogil=True)
def string_end(at: int, end: int) -> int:
    """Where the plain ASCII string that begins at `at` has its closing quote; -1 for any other.

    Eight bytes at a time: after H. S. Warren, Hacker's Delight, section 6-1.
    """
    while at + 8 <= end:
        word = word_at(at)
        odd = _zeros(word ^ _QUOTES) | _zeros(word ^ _BACKSLASHES) | _zeros(word ^ _DELETES)
        odd |= ((word - _BLANKS) & ~word & _TOPS) | (word & _TOPS)
        if odd:
            at += int(np.int64(trailing_zeros(odd)) >> 3)
            return at if byte_at(at) == 34 else -1
        at += 8
    while at < end:
        byte = byte_at(at)
        if byte == 34:
            return at
        if byte < 32 or byte == 92 or byte > 126:
            return -1
        at += 1
    return -1
