"""Named arrays in one run of bytes: a head that says what lies where, then the arrays as they are in memory.

What an npz file is too, without its checksums and its copies: a snapshot is laid out while a shard's readings wait.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

MAGIC = b"VNARRAYS"
_ALIGNED = 64
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(dict[str, tuple[str, list[int]]]).decode


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as bytes for `unpack`. Equal arrays of equal names in equal order make equal bytes."""
    plain = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    head = _encode({name: (array.dtype.str, array.shape) for name, array in plain.items()})
    pieces: list[Any] = [MAGIC, len(head).to_bytes(8, "little"), head]
    at = len(MAGIC) + 8 + len(head)
    for array in plain.values():
        pieces += [bytes(-at % _ALIGNED), array.reshape(-1).view(np.uint8).data]
        at += -at % _ALIGNED + array.nbytes
    return b"".join(pieces)


def unpack(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of `pack`, read-only, over these very bytes. Raises ValueError where they are of another layout."""
    if not data.startswith(MAGIC):
        raise ValueError(f"packed arrays begin with {MAGIC!r}, not {data[: len(MAGIC)]!r}")
    at = len(MAGIC) + 8
    size = int.from_bytes(data[len(MAGIC) : at], "little")
    try:
        head = _decode(data[at : at + size])
    except msgspec.DecodeError as error:
        raise ValueError(f"packed arrays: their head cannot be read: {error}") from error
    at += size
    found = {}
    for name, (dtype, shape) in head.items():
        at += -at % _ALIGNED
        kind, count = np.dtype(dtype), int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(data, kind, count, at).reshape(shape) if count else np.empty(shape, kind)
        at += count * kind.itemsize
    return found
