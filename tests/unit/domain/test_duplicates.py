"""The duplicate window against a plain set, and its bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain import duplicates
from engine.domain.duplicates import DuplicateWindow, digest

streams = st.lists(st.lists(st.integers(1, 60), max_size=40), max_size=8)


@given(streams)
def test_within_a_generation_it_is_a_set(batches: list[list[int]]) -> None:
    window, seen = DuplicateWindow(generation=10_000), set()
    for batch in batches:
        expected = []
        for value in batch:
            expected.append(value in seen)
            seen.add(value)
        assert window.claim(np.array(batch, np.uint64)).tolist() == expected


@given(st.integers(1, 50), st.integers(0, 300))
def test_it_remembers_the_last_generation_and_forgets_in_the_end(generation: int, later: int) -> None:
    window = DuplicateWindow(generation)
    window.claim(np.arange(1, generation + 1, dtype=np.uint64))
    window.claim(np.arange(1000, 1000 + later, dtype=np.uint64))
    again = bool(window.claim(np.array([generation], np.uint64))[0])
    if later < generation:
        assert again
    if later >= 2 * generation:
        assert not again


@given(streams)
def test_a_loaded_window_goes_on_where_it_was(batches: list[list[int]]) -> None:
    window = DuplicateWindow(generation=16)
    for batch in batches:
        window.claim(np.array(batch, np.uint64))
    loaded = DuplicateWindow.load(**window.dump(), generation=16)
    following = np.array([*range(1, 80), 5, 7], np.uint64)
    assert loaded.claim(following).tolist() == window.claim(following).tolist()


def test_kernels_equal_their_python(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.zeros(64, np.uint64)
    values = np.array([3, 67, 3, 131, 9], np.uint64)  # 3, 67 and 131 fall into one slot
    monkeypatch.setattr(duplicates, "_find", duplicates._find.py_func)
    assert duplicates._insert_all.py_func(table, values) == 4
    compiled = np.zeros(64, np.uint64)
    assert duplicates._insert_all(compiled, values) == 4
    assert table.tolist() == compiled.tolist()


def test_names_are_told_apart() -> None:
    assert digest("a", "bc") != digest("ab", "c")
    assert digest("a", "b") == digest("a", "b") != 0
