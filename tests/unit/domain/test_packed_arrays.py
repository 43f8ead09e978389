"""Arrays packed into bytes come back as they were; other bytes are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.domain.packed_arrays import MAGIC, pack, unpack

arrays = st.dictionaries(
    st.text(min_size=1, max_size=8),
    hnp.arrays(
        st.sampled_from(["i1", "i4", "u8", "f4", "f8", "?", "S5"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    max_size=5,
)


@given(arrays)
def test_what_was_packed_comes_back(given: dict[str, np.ndarray]) -> None:
    data = pack(given)
    found = unpack(data)
    assert list(found) == list(given)
    for name, array in given.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    assert pack(found) == data


def test_strided_and_empty_arrays_come_back() -> None:
    grid = np.arange(24).reshape(4, 6)
    given = {
        "turned": grid.T,
        "some": grid[::2, 1::2],
        "none": grid[:0],
        "one": np.array(7),
        "text": np.array(b"", "S"),
    }
    for name, array in unpack(pack(given)).items():
        np.testing.assert_array_equal(array, given[name])


@pytest.mark.parametrize("data", [b"", b"PK and so on", MAGIC + (4).to_bytes(8, "little") + b"{{{{"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="packed arrays"):
        unpack(data)


def test_bytes_that_end_early_are_refused() -> None:
    with pytest.raises(ValueError, match="buffer"):
        unpack(pack({"a": np.arange(100)})[:-50])
