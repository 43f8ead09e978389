"""Holdouts, errors and settlement: what may be booked as saved, and what never."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.batch import TextColumn
from engine.finance.estimates import Descriptive, Estimate, QuasiExperimental, Randomised, fieller, pooled
from engine.finance.money import FinanceError
from engine.finance.savings import Trial, draws, held_out, intention_to_treat, permutation_test, settle, truncated

MEMBERS = TextColumn.of([f"M{i:07d}" for i in range(20_000)])


def test_a_holdout_is_a_function_of_seed_programme_and_member() -> None:
    out = held_out(7, "walking", MEMBERS)
    assert out.mean() == pytest.approx(0.1, abs=0.007)
    some = TextColumn.of(["M0000042", "M0000007"])
    assert draws(7, "walking", some).tolist() == draws(7, "walking", MEMBERS)[[42, 7]].tolist()
    for seed, programme in ((8, "walking"), (7, "sleep")):
        other = held_out(seed, programme, MEMBERS)
        assert np.corrcoef(out, other)[0, 1] == pytest.approx(0, abs=0.03)
    spread = np.histogram(draws(7, "walking", MEMBERS), 20, (0, 1))[0]
    assert abs(spread - 1_000).max() < 150
    with pytest.raises(FinanceError, match="holdout is 1"):
        held_out(7, "walking", MEMBERS, 1)


def test_the_holdouts_kernel_is_its_python() -> None:
    from engine.finance import savings

    few = TextColumn.of(["a", "member-of-some-length", "Zoë"])
    out = np.empty(3)
    key = np.array([1, 2], np.uint64)
    savings._draws(few.data, few.starts, few.lengths, key[0], key[1], out)
    assert len(set(out.tolist())) == 3 and (out >= 0).all() and (out < 1).all()


def test_grades_of_evidence_cannot_be_added() -> None:
    one, other = Randomised(10, 3, 100, "a"), Randomised(20, 4, 200, "b")
    both = one + other
    assert (both.value, both.standard_error, both.members) == (30, 5, 300)
    for grade in (QuasiExperimental, Descriptive):
        with pytest.raises(TypeError, match="cannot be added: they are of different evidence"):
            one + grade(20, 4, 200, "b")
        with pytest.raises(TypeError, match="cannot be pooled"):
            pooled([one, grade(20, 4, 200, "b")])
        with pytest.raises(TypeError, match="pays nothing: only a randomised one"):
            settle(grade(20, 4, 200, "b"), 1000, 0, 4.0)
    assert pooled([one, other]).value == pytest.approx((10 / 9 + 20 / 16) / (1 / 9 + 1 / 16))
    with pytest.raises(FinanceError, match="an estimate has a grade"):
        Estimate(1, 1, 1, "none")


def made_up(seed: int, n: int = 400, effect: float = 0.0) -> Trial:
    chance = np.random.default_rng(seed)
    cluster = chance.integers(0, 40, n)
    offered = (cluster % 2 == 0).astype(bool)
    base = chance.normal(0, 1, (n, 2))
    shared = chance.normal(0, 300, 40)[cluster]
    cost = 1_000 + 200 * base[:, 0] + shared + chance.gamma(1, 400, n) + effect * offered
    return Trial(offered, cost, chance.uniform(1, 12, n), base, cluster)


@given(st.integers(0, 200))
def test_errors_are_those_of_their_formulas(seed: int) -> None:
    """HC1, HC2 and CR2 written out as matrices, without a shortcut."""
    trial = made_up(seed, 60)
    root = np.sqrt(trial.weights)
    mean = np.average(trial.covariates, axis=0, weights=trial.weights)
    x = np.column_stack([np.ones(60), trial.offered, trial.covariates - mean]) * root[:, None]
    y = trial.cost * root
    bread = np.linalg.inv(x.T @ x)
    beta, hat = bread @ x.T @ y, x @ bread @ x.T
    e = y - x @ beta
    for name, omega in (("HC1", e**2 * 60 / 56), ("HC2", e**2 / (1 - np.diag(hat)))):
        plain = intention_to_treat(Trial(trial.offered, trial.cost, trial.weights, trial.covariates), name)
        assert plain.value == pytest.approx(beta[1])
        assert plain.standard_error**2 == pytest.approx((bread @ x.T @ np.diag(omega) @ x @ bread)[1, 1])
    meat = np.zeros((4, 4))
    rows = []
    for c in np.unique(trial.cluster):
        own = np.flatnonzero(trial.cluster == c)
        values, vectors = np.linalg.eigh(np.eye(len(own)) - hat[np.ix_(own, own)])
        a = vectors @ np.diag(np.where(values > 1e-10, values, np.inf) ** -0.5) @ vectors.T
        score = x[own].T @ a @ e[own]
        meat += np.outer(score, score)
        rows.append((np.eye(60) - hat)[:, own] @ a @ x[own] @ bread[:, 1])
    clustered = intention_to_treat(trial)
    assert clustered.standard_error**2 == pytest.approx((bread @ meat @ bread)[1, 1])
    p = np.array(rows) @ np.array(rows).T
    assert clustered.degrees == pytest.approx(np.trace(p) ** 2 / np.trace(p @ p))


def test_intervals_hold_the_truth_where_clusters_were_assigned() -> None:
    """With the errors of members alone one in four of these 95 % intervals would miss."""
    inside = alone = 0
    for seed in range(200):
        trial = made_up(seed, effect=-50.0)
        low, high = intention_to_treat(trial).interval()
        inside += low <= -50 <= high
        plain = Trial(trial.offered, trial.cost, trial.weights, trial.covariates)
        low, high = intention_to_treat(plain).interval()
        alone += low <= -50 <= high
    assert inside >= 182 and alone < 170


def test_a_permutation_of_clusters_finds_no_effect_where_there_is_none() -> None:
    small = [permutation_test(made_up(seed, 120), 1, 99) for seed in range(40)]
    assert np.mean([p <= 0.05 for p in small]) <= 0.15 and np.mean(small) == pytest.approx(0.5, abs=0.12)
    assert permutation_test(made_up(3, 400, effect=-900.0), 1, 199) <= 0.01


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cost": np.array([1.0, 2.0, np.nan, 3.0])}, "row 3: cost is not a number"),
        ({"weights": np.array([1.0, 0.0, 1.0, 1.0])}, "row 2: weight is not above 0"),
        ({"offered": np.array([True] * 4)}, "4 of 4 are offered"),
        ({"cost": np.zeros(3)}, "cost has 3 rows, offered has 4"),
    ],
)
def test_a_trial_that_cannot_be_read_is_named(change: dict, said: str) -> None:
    sound = {"offered": np.array([True, True, False, False]), "cost": np.arange(4.0)}
    with pytest.raises(FinanceError, match=said):
        Trial(**sound | change)


def test_noise_is_not_paid() -> None:
    lucky = Randomised(20.0, 18.0, 1_000, "itt")
    told = settle(lucky, 12_000, 0, between=25.0)
    assert (told.paid, told.profit, told.rebate) == (0, 0, 0) and "lower bound" in told.why
    sound = Randomised(20.0, 5.0, 50_000, "itt")
    told = settle(sound, 12_000, 1_000_000, between=25.0, deficit=2_000_000)
    assert told.credibility == pytest.approx(0.5) and told.credited == 12_000_000 - 1_000_000
    assert told.paid == 9_000_000 == told.profit + told.rebate and told.profit == 6_300_000
    dear = settle(sound, 12_000, 15_000_000, between=25.0)
    assert (dear.paid, dear.deficit) == (0, 3_000_000)


def test_a_few_of_the_largest_are_cut_off() -> None:
    cost = np.append(np.ones(199), 10_000.0)
    assert truncated(cost).max() < 200 and truncated(cost).sum() < 300


@given(st.floats(-500, 500), st.floats(1, 100), st.floats(5, 500), st.floats(0.1, 100))
def test_fieller_holds_where_the_effect_is_a_multiple_of_the_cost(
    effect: float, effect_se: float, cost: float, cost_se: float
) -> None:
    """A ratio r is inside where effect - r x cost is no further from 0 than its own error allows."""
    got = fieller(effect, effect_se, cost, cost_se)
    assert got.bounded == (cost > 1.959963984540054 * cost_se) or abs(cost - 1.96 * cost_se) < 1e-3
    if got.bounded:
        for ratio, inside in ((got.low, True), (got.high, True), (got.low - 1, False), (got.high + 1, False)):
            distance = abs(effect - ratio * cost) / np.hypot(effect_se, ratio * cost_se)
            assert (distance <= 1.96 + 1e-3) == inside or abs(distance - 1.96) < 1e-3
