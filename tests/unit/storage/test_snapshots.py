"""Snapshots are stored compressed, and those of before are read too."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import zstandard

from engine.domain.batch import TextColumn
from engine.domain.packed_arrays import unpack
from engine.scoring.member_state import PartitionState
from engine.storage.snapshots import dumped, stored


def test_a_snapshot_comes_back_and_is_small() -> None:
    state = PartitionState(3)
    state.enrol(TextColumn.of([f"m{i}" for i in range(500)]))
    whole = state.dump()
    kept = stored(whole)
    assert dumped(kept) == whole
    assert len(kept) * 4 < len(whole)
    loaded = PartitionState.load(dumped(kept))
    assert loaded.ids(np.arange(500)).tolist() == state.ids(np.arange(500)).tolist()


def as_npz(dump: bytes) -> bytes:
    """The dump as it was before arrays were packed."""
    buffer = io.BytesIO()
    np.savez(buffer, **unpack(dump))
    return buffer.getvalue()


@pytest.mark.parametrize("kept", [lambda npz: npz, stored])
def test_one_of_before_is_read(kept: Callable[[bytes], bytes]) -> None:
    """As npz, first plain and then compressed."""
    state = PartitionState(3)
    state.enrol(TextColumn.of([f"m{i}" for i in range(500)]))
    state["birth_day"][:500] = np.arange(500)
    state.models = "base_risk-3"
    loaded = PartitionState.load(dumped(kept(as_npz(state.dump()))))
    assert loaded.dump() == state.dump() and loaded.models == state.models


def test_bytes_that_were_changed_are_refused() -> None:
    kept = bytearray(stored(PartitionState(3).dump()))
    kept[len(kept) // 2] ^= 1
    with pytest.raises(zstandard.ZstdError):
        dumped(bytes(kept))


def test_other_bytes_are_refused() -> None:
    with pytest.raises(zstandard.ZstdError):
        dumped(b"neither")
