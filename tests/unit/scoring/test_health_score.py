"""The score: bounds, floors, components, and the same bits alone or in a batch."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.metrics import LAB_TESTS, METRIC_INDEX
from engine.domain.population import Population
from engine.learning.registry import load_models
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.health_score import CATEGORIES, HealthScorer
from engine.scoring.interventions import Catalogue, Intervention
from engine.scoring.record import HealthRecord, score_record, score_records
from engine.scoring.risk_factors import FACTOR_CODES, NEWS2, TOP, Ranked, ranked
from engine.settings import load_rules

AS_OF = 1_735_689_600_000_000
FEATURES = {"age": 52.0, "male": 0.0, "cost_total": 900.0, "cost_office": 900.0, "n_office": 4.0}


@pytest.fixture(scope="module")
def scorer() -> HealthScorer:
    return HealthScorer(load_models(), load_rules())


def record(features: dict | None = None, month: dict | None = None, days: int = 20, **vitals: float) -> HealthRecord:
    month = month or {}
    return HealthRecord(AS_OF, FEATURES | (features or {}), month, dict.fromkeys(month, days), vitals)


def test_scores_stay_within_their_bounds(scorer: HealthScorer) -> None:
    for cost in (0, 500, 20_000, 900_000):
        got = score_record(scorer, record({"cost_total": cost, "cost_inpatient": cost}))
        assert 1 <= got.score <= 100
        assert 0 <= got.cost_lower_90 <= got.predicted_cost <= got.cost_upper_90


@pytest.mark.parametrize(
    ("vitals", "news2", "least", "category"),
    [
        ({"spo2": 97.0}, 0, 1.0, None),
        ({"spo2": 91.0, "respiratory_rate": 22.0}, 5, 80.0, "High"),
        ({"spo2": 91.0, "respiratory_rate": 25.0, "heart_rate": 95.0}, 7, 95.0, "Critical"),
    ],
)
def test_vital_signs_raise_the_score_to_a_floor(scorer, vitals, news2, least, category) -> None:
    got = score_record(scorer, record(**vitals))
    assert got.news2 == news2 and got.score >= least
    assert "news2" in got.components
    if category:
        assert got.category == category
        assert got.risk_factors[0].code == "news2"
        assert got.interventions[0] == "urgent_clinical_review"


def test_a_person_with_nothing_known_but_age_costs_little(scorer: HealthScorer) -> None:
    got = score_record(scorer, HealthRecord(AS_OF, {"age": 30.0}, {}, {}, {}))
    assert got.category == "Low" and got.predicted_cost < 3000


def test_wearables_take_part_from_the_seventh_day(scorer: HealthScorer) -> None:
    # a costly member: a tenth of the cost of a cheap one is not among the five largest factors
    costly, walks = {"cost_total": 60_000.0, "cost_inpatient": 20_000.0}, {"steps": 3500.0}
    without = score_record(scorer, record(costly, month=walks, days=6))
    with_them = score_record(scorer, record(costly, month=walks, days=7))
    assert without.components == ["base_risk"] and with_them.components == ["base_risk", "wearables"]
    assert without.predicted_cost < with_them.predicted_cost <= 1.25 * without.predicted_cost
    assert any(factor.code == "steps" and factor.direction == "raises" for factor in with_them.risk_factors)


def test_a_batch_gives_the_bits_of_each_alone(scorer: HealthScorer) -> None:
    population = Population.generate(5, 64)
    features = np.full((64, len(BASE_FEATURES)), np.nan, np.float32)
    features[:, FEATURE_INDEX["age"]] = np.linspace(1, 90, 64)
    features[:, FEATURE_INDEX["cost_total"]] = population.annual_cost_cents / 100
    together = scorer.base.predict(features)
    contributions = scorer.base.contributions(features)
    for i in range(64):
        alone = scorer.base.predict(features[i : i + 1])
        for field in dataclasses.fields(alone):
            assert getattr(alone, field.name)[0] == getattr(together, field.name)[i]
        np.testing.assert_array_equal(scorer.base.contributions(features[i : i + 1])[0], contributions[i])


def test_records_scored_together_are_scored_as_each_alone(scorer: HealthScorer) -> None:
    chance = np.random.default_rng(8)
    metrics, tests = ("steps", "resting_heart_rate", "sleep_minutes"), [test.code for test in LAB_TESTS]
    records = []
    for i in range(64):
        month = {code: float(chance.uniform(50, 500)) for code in metrics if chance.random() < 0.5}
        vitals = {"spo2": float(chance.uniform(80, 100)), "heart_rate": float(chance.uniform(40, 150))} if i % 3 else {}
        labs = {test: float(chance.uniform(1, 200)) for test in tests if chance.random() < i / 64}
        features = {
            "age": float(chance.integers(0, 95)),
            "male": float(i % 2),
            "cost_total": float(chance.uniform(0, 1e5)),
        }
        codes = ["E11.9", "I50.9", "C34.90", "F32.9"][: i % 5]
        days = dict.fromkeys(month, int(chance.integers(1, 31)))
        records.append(HealthRecord(AS_OF, features, month, days, vitals, codes, labs, int(chance.integers(0, 500))))
    together = score_records(scorer, records)
    assert together == [score_record(scorer, each) for each in records]
    assert {name for score in together for name in score.components} == {
        "base_risk", "clinical", "physiology", "wearables", "news2"
    }  # fmt: skip


def test_contributions_and_bias_add_up_to_the_prediction(scorer: HealthScorer) -> None:
    features = np.full((50, len(BASE_FEATURES)), 0, np.float32)
    features[:, FEATURE_INDEX["age"]] = np.linspace(30, 85, 50)
    features[:, FEATURE_INDEX["cost_total"]] = np.linspace(3000, 60_000, 50)
    total = scorer.base.contributions(features).sum(axis=1) + scorer.base.bias()
    np.testing.assert_allclose(total, scorer.base.predict(features).mean, rtol=1e-4)


def test_interventions_answer_what_raises_the_cost() -> None:
    def entry(code: str, factors: tuple[str, ...], least: int) -> Intervention:
        return Intervention(code, code, factors, least, "")

    entries = [entry("all", (), 0), entry("walk", ("steps",), 0), entry("nurse", ("n_inpatient",), 2)]
    catalogue = Catalogue(entries)

    def chosen(category: str, dollars: float) -> list[str]:
        which = np.array([[FACTOR_CODES.index("n_inpatient"), FACTOR_CODES.index("steps"), -1, -1, -1]])
        factors = Ranked(which, np.where(which >= 0, dollars, np.nan), np.ones((1, TOP)))
        found = catalogue.recommend(factors, np.array([CATEGORIES.index(category)]))[0]
        return [catalogue.codes[i] for i in found.tolist() if i >= 0]

    assert chosen("High", 1.0) == ["nurse", "walk", "all"]
    assert chosen("Low", 1.0) == ["walk", "all"]
    assert chosen("High", -1.0) == ["all"]
    with pytest.raises(ValueError, match=r"walk_more: factors \['step'\]"):
        entry("walk_more", ("step",), 0)


@given(st.lists(st.lists(st.integers(-4, 4), min_size=8, max_size=8), min_size=1, max_size=12), st.randoms())
def test_ranking_is_a_stable_sort_by_size(rows: list[list[int]], chance) -> None:
    dollars, values = np.array(rows, float), np.arange(8.0) + np.zeros((len(rows), 1))
    news2 = np.array([chance.choice([-1, 3, 6]) for _ in rows])
    got = ranked(dollars, values, news2, 5)
    for i, row in enumerate(rows):
        wanted = [k for k in sorted(range(8), key=lambda k: -abs(row[k])) if row[k]][:TOP]
        alarm = [NEWS2] if news2[i] >= 5 else []
        found = got.which[i][got.which[i] >= 0].tolist()
        assert found == [*alarm, *wanted][:TOP]
        assert got.dollars[i][: len(found)].tolist()[len(alarm) :] == [row[k] for k in found[len(alarm) :]]
        assert got.values[i][: len(found)].tolist() == [6.0] * len(alarm) + [float(k) for k in found[len(alarm) :]]


def test_an_unknown_metric_is_named(scorer: HealthScorer) -> None:
    with pytest.raises(KeyError, match="aura"):
        score_record(scorer, record(aura=1.0))
    assert "steps" in METRIC_INDEX


def test_a_metric_that_does_not_exist_is_no_month_of_a_record(scorer: HealthScorer) -> None:
    with pytest.raises(KeyError, match="stepps"):
        score_record(scorer, record({"age": 40.0, "male": 1.0}, month={"stepps": 4000.0}, days=20))
