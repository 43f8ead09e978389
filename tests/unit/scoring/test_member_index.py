"""The index of members: a dictionary from ids to slots, to which kernels have access."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.batch import TextColumn
from engine.scoring.member_state import PartitionState


@given(st.lists(st.text(min_size=1, max_size=12), max_size=300), st.lists(st.text(max_size=12), max_size=50))
def test_it_is_a_dictionary(enrolled: list[str], asked: list[str]) -> None:
    state, slots = PartitionState(3), dict[str, int]()
    wanted = [slots.setdefault(member, len(slots)) for member in enrolled]
    half = len(enrolled) // 2
    got = [state.enrol(TextColumn.of(part)).tolist() for part in (enrolled[:half], enrolled[half:])]
    assert [*got[0], *got[1]] == wanted and len(state) == len(slots)
    asked = asked + enrolled
    wanted = [slots.get(member, -1) for member in asked]
    for each in (state, PartitionState.load(state.dump())):
        assert each.slots_of(TextColumn.of(asked)).tolist() == wanted
        assert each.ids(np.arange(len(each))).tolist() == list(slots)
    assert all(state.slot_of(member) == slots.get(member) for member in asked)
