"""`scores.updated` in the outbox: the messages of a whole batch as columns in one row, which the relay unfolds.

A row a message would double what a commit writes. Little-endian arrays in the order of the members.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from engine.domain.batch import TextColumn

MESSAGE_VERSION = 1
_COSTS = ("predicted_cost", "cost_lower_90", "cost_upper_90")
_REALS = ("score", *_COSTS)
_encode = msgspec.json.Encoder().encode


class _Packed(msgspec.Struct):
    """The columns' bytes. `ends` are where each member's id ends in `ids`; `categories` and their `which`."""

    ids: bytes
    ends: bytes
    as_of_us: bytes
    reals: bytes
    categories: list[str]
    which: bytes
    model_version: str
    seq: int


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Packed).decode


def pack(columns: dict[str, Any]) -> bytes:
    """The messages of score rows of one partition's commit, at least one."""
    ids: TextColumn = columns["member_id"]
    category: TextColumn = columns["category"]
    categories, which = category.distinct()
    return _pack(
        _Packed(
            ids.packed().tobytes(),
            np.cumsum(ids.lengths).astype("<u4").tobytes(),
            np.asarray(columns["as_of"]).astype("<i8").tobytes(),
            np.stack([columns[name] for name in _REALS]).astype("<f8").tobytes(),
            categories,
            which.astype("u1").tobytes(),
            columns["model_version"][0],
            int(columns["seq"][0]),
        )
    )


def unpack(payload: bytes) -> Iterator[tuple[str, bytes]]:
    """Key and JSON of each message."""
    packed = _unpack(payload)
    ends = np.frombuffer(packed.ends, "<u4").tolist()
    times = (np.frombuffer(packed.as_of_us, "<i8") // 1000).tolist()
    reals = np.frombuffer(packed.reals, "<f8").reshape(len(_REALS), -1).T.tolist()
    start = 0
    for i, end in enumerate(ends):
        member = packed.ids[start:end].decode()
        numbers = {name: None if x != x else x for name, x in zip(_REALS, reals[i], strict=True)}
        message = {
            "v": MESSAGE_VERSION,
            "as_of": times[i],
            "member_id": member,
            "score": numbers["score"],
            "category": packed.categories[packed.which[i]],
            **{name: numbers[name] for name in _COSTS},
            "model_version": packed.model_version,
            "seq": packed.seq,
        }
        yield member, _encode(message)
        start = end
