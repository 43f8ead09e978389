"""The clinical component: HCCs of claims in the state, year by year, and what they do to the score."""

import itertools

import numpy as np
import pytest

from engine.domain.batch import TextColumn
from engine.scoring import clinical, facts
from engine.scoring.diagnosed import renew_categories
from engine.scoring.hcc import kernels
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_features import known
from engine.scoring.member_state import PartitionState
from engine.scoring.record import HealthRecord, score_record
from tests.hcc import one

AS_OF = 1_735_689_600_000_000  # 2025-01-01
FIFTY = {"age": 50.0, "male": 1.0}


def year_us(year: int) -> np.ndarray:
    return np.array([np.datetime64(f"{year}-06-01", "us").astype(np.int64)])


def person(age: int, female: bool = False) -> tuple[np.ndarray, np.ndarray]:
    return np.array([age], np.int16), np.array([female], np.int8)


@pytest.mark.parametrize("order", list(itertools.permutations([2022, 2023, 2024])))
def test_the_latest_two_years_count_in_whatever_order_claims_arrive(
    scorer: HealthScorer, order: tuple[int, ...]
) -> None:
    codes = {2022: ["C772"], 2023: ["I509"], 2024: ["E1169"]}
    state = PartitionState(0)
    slot = state.enrol(TextColumn.of(["m"]))
    state["birth_day"][slot] = (np.datetime64("1974-06-01") - np.datetime64("1970-01-01")).astype(int)
    state["male"][slot] = True
    for year in order:
        keys = [facts.key(facts.DIAGNOSIS, facts.code_number(code), year) for code in codes[year]]
        state.note(slot, np.array(keys), np.ones(1, np.int8))
        renew_categories(state, slot)
    both = clinical.categories_of([[*codes[2023], *codes[2024]]], *person(50))
    latest = clinical.categories_of([codes[2024]], *person(50))

    def recent(state: PartitionState, year: int) -> np.ndarray:
        return known(state, slot, year_us(year), scorer.models.physiology).ccs

    np.testing.assert_array_equal(recent(state, 2024), both)
    np.testing.assert_array_equal(recent(state, 2025), latest)
    np.testing.assert_array_equal(recent(state, 2023), clinical.categories_of([codes[2023]], *person(50)))
    assert not recent(state, 2026).any() and not recent(state, 2022).any()
    np.testing.assert_array_equal(recent(PartitionState.load(state.dump()), 2024), both)


def test_edits_see_the_persons_age_and_sex() -> None:
    breast = clinical.categories_of([["C50229"]] * 2, np.array([49, 50], np.int16), np.array([1, 1], np.int8))
    assert (breast[0] != breast[1]).any()


@pytest.mark.parametrize(("age", "segment"), [(45, "COMMUNITY_ND"), (70, "COMMUNITY_NA")])
def test_the_raf_is_that_of_the_community_model(age: int, segment: str) -> None:
    codes = ["E1169", "I509", "N184"]
    low, high = clinical.categories_of([codes], *person(age))[0]
    scratch = np.empty(kernels.MAX_VARIABLES, np.int64)
    *_, raf, effect = clinical.risk(low, high, age, 0, clinical.tables(), scratch)
    expected = one(codes, "v28", 2027, age=age)
    assert expected.table()["segment"][0].as_py() == segment
    assert raf == pytest.approx(expected.normalized_score[0])
    assert 0 < effect <= np.log(clinical.MOST)


def test_without_hccs_the_score_is_as_it_was(scorer: HealthScorer) -> None:
    plain = score_record(scorer, HealthRecord(AS_OF, FIFTY, {}, {}, {}))
    unmapped = score_record(scorer, HealthRecord(AS_OF, FIFTY, {}, {}, {}, ["Z0000"]))
    assert plain == unmapped and plain.components == ["base_risk"]


def test_hccs_raise_the_score_and_are_named(scorer: HealthScorer) -> None:
    ill = score_record(scorer, HealthRecord(AS_OF, FIFTY, {}, {}, {}, ["I50.9", "E11.69"]))
    plain = score_record(scorer, HealthRecord(AS_OF, FIFTY, {}, {}, {}))
    assert ill.score > plain.score and ill.components == ["base_risk", "clinical"]
    factor = next(factor for factor in ill.risk_factors if factor.code == "hcc_raf")
    assert factor.direction == "raises" and (factor.dollars or 0) > 0 and (factor.value or 0) > 0.5
    assert "HCC37" in factor.label and "HCC226" in factor.label
    assert "hcc-v28.2027" in ill.model_version.split("+")
