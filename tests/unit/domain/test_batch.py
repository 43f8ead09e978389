"""Columns of a batch: cut and joined they say what they said whole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.batch import RealLists, Rows, TextColumn, TextLists, grouped, joined

_texts = st.lists(st.text(max_size=5), max_size=12)
_lists = st.lists(st.lists(st.sampled_from(["a", "bb", "é"]), max_size=3), max_size=12)
_reals = st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3), max_size=12)


def text_lists(rows: list[list[str]], options: tuple[str, ...] = ("a", "bb", "é")) -> TextLists:
    which = np.array([options.index(text) for row in rows for text in row], np.int64)
    return TextLists(options, which, np.cumsum([len(row) for row in rows], dtype=np.int64))


def real_lists(rows: list[list[float]]) -> RealLists:
    values = np.array([value for row in rows for value in row], np.float64)
    return RealLists(values, np.cumsum([len(row) for row in rows], dtype=np.int64))


@given(texts=_texts, lists=_lists, reals=_reals, at=st.integers(0, 12))
def test_cut_and_joined_is_as_it_was(texts: list[str], lists: list, reals: list, at: int) -> None:
    n = min(len(texts), len(lists), len(reals))
    at = min(at, n)
    whole = Rows(
        {
            "text": TextColumn.of(texts[:n]),
            "lists": text_lists(lists[:n]),
            "reals": real_lists(reals[:n]),
            "numbers": np.arange(n),
        }
    )
    pieces = [whole.cut(0, at), whole.cut(at, n)]
    assert [len(piece) for piece in pieces] == [at, n - at]
    for name, column in whole.columns.items():
        cuts = [piece.columns[name] for piece in pieces]
        assert [value for cut in cuts for value in cut.tolist()] == column.tolist()
        assert joined(cuts).tolist() == column.tolist()


@given(parts=st.lists(_texts, min_size=1, max_size=4))
def test_texts_of_several_buffers_are_joined(parts: list[list[str]]) -> None:
    columns = [TextColumn.of(part) for part in parts]
    assert joined([column.cut(1, len(column)) for column in columns]).tolist() == [
        text for part in parts for text in part[1:]
    ]


@given(first=_lists, second=_lists, third=_lists)
def test_lists_over_other_options_are_joined(first: list, second: list, third: list) -> None:
    columns = [text_lists(first), text_lists(second, ("é", "a", "bb")), text_lists(third)]
    assert joined(columns).tolist() == first + second + third


def test_a_list_and_a_column_are_joined_as_values() -> None:
    assert joined([["x", None], TextColumn.of(["y"])]) == ["x", None, "y"]
    assert joined([[1], [None]]) == [1, None]


@given(sizes=st.lists(st.integers(0, 9), max_size=12), most=st.integers(1, 12))
def test_neighbours_are_together_up_to_the_most(sizes: list[int], most: int) -> None:
    groups = list(grouped(range(len(sizes)), sizes, most))
    assert [i for group in groups for i in group] == list(range(len(sizes)))
    totals = [sum(sizes[i] for i in group) for group in groups]
    assert all(total <= most or len(group) == 1 for total, group in zip(totals, groups, strict=True))
    for total, after in zip(totals, groups[1:], strict=False):
        assert total + sizes[after[0]] > most  # no group is smaller than it must be
