"""Snapshots are stored compressed, and those of before are read too."""

import numpy as np
import pytest
import zstandard

from engine.domain.batch import TextColumn
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


def test_one_that_was_stored_plain_is_read() -> None:
    whole = PartitionState(3).dump()
    assert dumped(whole) == whole


def test_other_bytes_are_refused() -> None:
    with pytest.raises(zstandard.ZstdError):
        dumped(b"neither")
