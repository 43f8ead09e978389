"""The index of members: a dictionary from ids to slots, to which kernels have access."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.batch import TextColumn
from engine.scoring.member_state import PartitionState


def column(ids: list[str]) -> TextColumn:
    lengths = np.array([len(each.encode()) for each in ids], np.int64)
    return TextColumn(np.frombuffer("".join(ids).encode(), np.uint8), np.cumsum(lengths) - lengths, lengths)


@given(st.lists(st.text(min_size=1, max_size=12), max_size=300), st.lists(st.text(max_size=12), max_size=50))
def test_it_is_a_dictionary(enrolled: list[str], asked: list[str]) -> None:
    enrolled = [each for each in enrolled if "\x00" not in each]
    state = PartitionState(3)
    for member in enrolled:
        state.enrol(member)
    asked = asked + enrolled
    wanted = [state.slot_of.get(member, -1) for member in asked]
    assert state.slots_of(column(asked)).tolist() == wanted
    assert PartitionState.load(state.dump()).slots_of(column(asked)).tolist() == wanted
