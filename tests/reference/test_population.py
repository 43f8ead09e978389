"""The synthetic population against published figures; docs/population.md says where each comes from."""

import numpy as np
import pandas as pd
import pytest

from engine.domain.events import CONDITIONS, REGIONS
from engine.domain.metrics import METRIC_INDEX
from engine.domain.population import AGE_BANDS, Population
from tests.conftest import shared_data

MEPS_COLUMNS = {
    "hypertension": "hibpdx",
    "coronary_heart_disease": "chddx",
    "angina": "angidx",
    "heart_attack": "midx",
    "other_heart_disease": "ohrtdx",
    "stroke": "strkdx",
    "emphysema": "emphdx",
    "high_cholesterol": "choldx",
    "cancer": "cancerdx",
    "diabetes": "diabdx",
    "arthritis": "arthdx",
    "asthma": "asthdx",
}


@pytest.fixture(scope="module")
def people() -> Population:
    return Population.generate(2025, 200_000)


@pytest.fixture(scope="module")
def age(people: Population) -> np.ndarray:
    return people.age(people.as_of)


@pytest.fixture(scope="module")
def meps() -> pd.DataFrame:
    frames = []
    for year in (12, 13):
        frame = pd.read_parquet(shared_data("meps") / f"meps_20{year}.parquet")
        names = {
            f"age{year}x": "age",
            f"perwt{year}f": "weight",
            f"totexp{year}": "cost",
            f"rxexp{year}": "drugs",
        }
        frame = frame.rename(columns=names)
        frames.append(
            frame[["age", "sex", *names.values(), *MEPS_COLUMNS.values()]].loc[:, lambda f: ~f.columns.duplicated()]
        )
    both = pd.concat(frames)
    return both[(both.weight > 0) & (both.age >= 0)]


def metric(people: Population, code: str) -> np.ndarray:
    return people.baseline[:, METRIC_INDEX[code]]


def test_age_and_sex_of_the_united_states_in_2020(people: Population, age: np.ndarray) -> None:
    published = {(0, 15): 18.46, (15, 25): 12.91, (25, 55): 38.92, (55, 65): 12.86, (65, 120): 16.85}
    for (low, high), percent in published.items():
        assert 100 * ((age >= low) & (age < high)).mean() == pytest.approx(percent, abs=0.5)
    # 31,037,419 women and 25,014,147 men of 65 and over
    assert (people.sex[age >= 65] == 0).mean() == pytest.approx(31_037_419 / 56_051_566, abs=0.01)
    # 64,564,565 women and 64,893,670 men of 25 to 54
    assert (people.sex[(age >= 25) & (age < 55)] == 0).mean() == pytest.approx(0.4987, abs=0.01)


def test_regions_of_the_census_of_2020(people: Population) -> None:
    published = {"northeast": 57_609_148, "midwest": 68_985_454, "south": 126_266_107, "west": 78_588_572}
    for region, count in published.items():
        share = (people.region == REGIONS.index(region)).mean()
        assert share == pytest.approx(count / 331_449_281, abs=0.006)


@pytest.mark.parametrize("condition", MEPS_COLUMNS)
def test_prevalence_by_age_is_that_of_meps(
    people: Population, age: np.ndarray, meps: pd.DataFrame, condition: str
) -> None:
    column = MEPS_COLUMNS[condition]
    asked = meps[meps[column].isin([1, 2])]
    present = people.conditions[:, CONDITIONS.index(condition)]
    for low, high in zip(AGE_BANDS[1:], (*AGE_BANDS[2:], 200), strict=True):
        for sex in (0, 1):
            of_survey = asked[(asked.age >= low) & (asked.age < high) & (asked.sex == 2 - sex)]
            expected = np.average(of_survey[column] == 1, weights=of_survey.weight)
            ours = present[(age >= low) & (age < high) & (people.sex == sex)].mean()
            assert ours == pytest.approx(expected, abs=0.02)


def test_known_hypertension_is_near_nchs_2021_to_2023(people: Population, age: np.ndarray) -> None:
    # NCHS, Fryar et al. 2024: 47.7 % of adults have it, 59.2 % of them know; MEPS asks "ever told"
    known = people.conditions[age >= 18, CONDITIONS.index("hypertension")].mean()
    assert known == pytest.approx(0.477 * 0.592, abs=0.08)


def test_arthritis_is_near_nhis_2019(people: Population, age: np.ndarray) -> None:
    # MMWR 70(17): percent by age 18-44, 45-64, 65-74, 75+; NHIS words its question more narrowly than MEPS
    arthritis = people.conditions[:, CONDITIONS.index("arthritis")]
    published = {0: (6.6, 29.3, 48.6, 57.8), 1: (5.8, 22.3, 40.1, 44.7)}
    for sex, percents in published.items():
        for (low, high), percent in zip(((18, 45), (45, 65), (65, 75), (75, 120)), percents, strict=True):
            ours = 100 * arthritis[(age >= low) & (age < high) & (people.sex == sex)].mean()
            assert ours == pytest.approx(percent, abs=15)


def test_cost_is_as_concentrated_as_ahrq_says(people: Population) -> None:
    cost = np.sort(people.annual_cost_cents)[::-1]
    n, total = len(cost), cost.sum()
    assert cost[: n // 100].sum() / total == pytest.approx(0.22, abs=0.025)  # 20.2 to 24 % between 2008 and 2022
    assert cost[: n // 20].sum() / total == pytest.approx(0.49, abs=0.03)  # "nearly half"
    assert cost[n // 2 :].sum() / total < 0.03  # "less than 3 percent"
    assert (cost == 0).mean() == pytest.approx(0.15, abs=0.03)  # 13 % in 2018, 15 % in 2012 and 2013
    assert total / n / 100 == pytest.approx(147_071 * 0.01 / 0.217, rel=0.04)


def test_cost_rises_with_age_and_sex_as_in_meps(people: Population, age: np.ndarray, meps: pd.DataFrame) -> None:
    overall = np.average(meps.cost, weights=meps.weight)
    errors = []
    for low, high in zip(AGE_BANDS, (*AGE_BANDS[1:], 200), strict=True):
        for sex in (0, 1):
            of_survey = meps[(meps.age >= low) & (meps.age < high) & (meps.sex == 2 - sex)]
            expected = np.average(of_survey.cost, weights=of_survey.weight) / overall
            cell = (age >= low) & (age < high) & (people.sex == sex)
            errors.append(abs(people.annual_cost_cents[cell].mean() / people.annual_cost_cents.mean() / expected - 1))
    assert max(errors) < 0.35
    assert np.mean(errors) < 0.13


def test_the_costly_have_several_conditions(people: Population, age: np.ndarray) -> None:
    # MEPS briefs 556 and 560: 75.1 to 78.1 % of adults in the top 5 % have two or more; 84.7 % in 2012-13
    costly = (people.annual_cost_cents >= np.quantile(people.annual_cost_cents, 0.95)) & (age >= 18)
    assert (people.conditions[costly].sum(axis=1) >= 2).mean() == pytest.approx(0.82, abs=0.08)


def test_smoking_is_that_of_nhis_2021(people: Population, age: np.ndarray) -> None:
    smokes = ~people.smoker_free
    assert smokes[age >= 18].mean() == pytest.approx(0.115, abs=0.01)
    for (low, high), share in {(18, 25): 0.053, (25, 45): 0.126, (45, 65): 0.149, (65, 120): 0.083}.items():
        assert smokes[(age >= low) & (age < high)].mean() == pytest.approx(share, abs=0.01)


def test_resting_heart_rate_is_that_of_quer_2020(people: Population, age: np.ndarray) -> None:
    resting = metric(people, "resting_heart_rate")[age >= 18]
    assert resting.mean() == pytest.approx(65.5, abs=1.0)
    assert resting.std() == pytest.approx(7.7, abs=0.6)
    assert resting[people.sex[age >= 18] == 0].mean() > resting[people.sex[age >= 18] == 1].mean()


def test_respiratory_rate_is_that_of_natarajan_2021(people: Population, age: np.ndarray) -> None:
    rate = metric(people, "respiratory_rate")[(age >= 20) & (age < 70)]
    assert rate.mean() == pytest.approx(15.4, abs=0.2)
    np.testing.assert_allclose(np.quantile(rate, [0.05, 0.95]), [11.8, 19.2], atol=0.3)


def test_sleep_is_that_of_six_billion_nights(people: Population, age: np.ndarray) -> None:
    sleep = metric(people, "sleep_minutes")
    assert sleep[(age >= 18) & (people.sex == 0)].mean() == pytest.approx(6 * 60 + 50, abs=5)
    assert sleep[(age >= 18) & (people.sex == 1)].mean() == pytest.approx(6 * 60 + 26, abs=5)


def test_steps_by_age_are_those_of_nhanes(people: Population, age: np.ndarray) -> None:
    survey = pd.read_parquet(shared_data("nhanes") / "nhanes_steps_mortality.parquet")
    survey = survey[(survey.num_valid_days >= 3) & survey.total_scsslsteps.notna()]
    years = survey.age_in_years_at_screening
    steps = metric(people, "steps")
    for low, high in zip(AGE_BANDS[1:], (*AGE_BANDS[2:], 200), strict=True):
        expected = survey.total_scsslsteps[(years >= low) & (years < high)].median()
        assert np.median(steps[(age >= low) & (age < high)]) == pytest.approx(expected, rel=0.05)


def test_young_adults_wear_like_those_of_lifesnaps(people: Population, age: np.ndarray) -> None:
    daily = pd.read_csv(shared_data("lifesnaps") / "daily.csv", usecols=["rmssd", "spo2"])
    young = (age >= 20) & (age < 45)
    assert metric(people, "hrv_rmssd")[young].mean() == pytest.approx(daily.rmssd.mean(), rel=0.15)
    assert metric(people, "spo2")[young].mean() == pytest.approx(daily.spo2.mean(), abs=0.7)
