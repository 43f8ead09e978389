"""Severity tables keep the law's moments and quantiles; measures of a sample are what their definitions say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from simulations import measures
from simulations.class_laws import shock_range
from simulations.errors import SpecError
from simulations.exact import compound_poisson
from simulations.kernels.severity import fill_cents
from simulations.measures import binomial_quantile, compare
from simulations.severity import Empirical, Gamma, Lognormal, Mixture, Pareto, Severity, Weibull
from simulations.tables import split_tables, table_moments, table_of

LOSSES = np.round(np.random.default_rng(4).lognormal(7.0, 1.4, 500), 2)
LAWS: list[Severity] = [
    Lognormal(9.1, 1.1),
    Lognormal(2.0, 2.5),
    Gamma(0.3, 900.0),
    Gamma(40.0, 5.0),
    Pareto(3.2, 2000.0),
    Weibull(0.7, 1500.0),
    Weibull(3.0, 400.0),
    Empirical(LOSSES),
    Mixture((0.9, 0.1), (Gamma(2.0, 150.0), Pareto(4.0, 30_000.0))),
]


def drawn(table: np.ndarray, n: int) -> np.ndarray:
    """n amounts in dollars by words spread evenly over all 2^32: the table read as the kernel reads it."""
    words = (np.arange(n, dtype=np.uint64) * (2**32 // n) + 2**32 // (2 * n)).astype(np.uint32)
    out, rows, fractions = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    fill_cents(out, words, rows, fractions, n, table, 0, 0, 0, 3, np.uint64(1), np.uint64(0))
    return out / 100.0


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_a_table_keeps_mean_and_second_moment(law: Severity) -> None:
    first, second = table_moments(table_of(law))
    assert first == pytest.approx(law.moment(1), rel=1e-5)
    assert second == pytest.approx(law.moment(2), rel=1e-5 if not isinstance(law, Pareto) else 1e-3)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_the_kernel_reads_the_laws_quantiles(law: Severity) -> None:
    amounts = np.sort(drawn(table_of(law), 1 << 16))
    p = np.array([0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
    exact = np.where(p <= 0.5, law.quantile(np.minimum(p, 0.5)), law.upper_quantile(np.minimum(1 - p, 0.5)))
    np.testing.assert_allclose(
        amounts[(p * len(amounts)).astype(int)], exact, rtol=0.01 if not isinstance(law, Empirical) else 0.1, atol=0.02
    )


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_a_law_cut_at_a_threshold_keeps_its_mean(law: Severity) -> None:
    cut = split_tables(law, 1000.0)
    small, large = table_moments(cut.small)[0], table_moments(cut.large)[0]
    assert cut.above == pytest.approx(float(law.survival(np.array([1000.0]))[0]))
    assert small * (1 - cut.above) + large * cut.above == pytest.approx(law.moment(1), rel=1e-4)


def test_a_file_of_few_distinct_losses_keeps_its_mean() -> None:
    # within a bucket that holds both 900 and 15,000 the table is uniform, so the second moment is a little short
    law = Empirical(np.array([120.0, 120.0, 350.0, 900.0, 15_000.0, 80.5, 2200.0]))
    first, second = table_moments(table_of(law))
    assert first == pytest.approx(law.moment(1), rel=1e-9)
    assert second == pytest.approx(law.moment(2), rel=2e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Empirical(np.array([])),
        lambda: Empirical(np.array([1.0, np.nan])),
        lambda: Empirical(np.array([-1.0])),
        lambda: Mixture((1.0,), (Gamma(1, 1), Gamma(1, 2))),
        lambda: Pareto(1.5, 100.0),
    ],
)
def test_an_impossible_law_is_refused(make) -> None:
    with pytest.raises(SpecError):
        make()


samples = arrays.arrays(
    np.float64, st.tuples(st.integers(40, 200), st.integers(1, 4)), elements=st.integers(0, 10**7).map(float)
)


@given(samples, st.sampled_from([0.5, 0.9, 0.95]))
def test_groups_shares_add_up_to_the_pools_tvar(groups: np.ndarray, level: float) -> None:
    names = tuple(str(g) for g in range(groups.shape[1]))
    shares = measures.co_tvar(groups, names, (level,))
    whole = measures.measure(groups.sum(axis=1), (level,)).tvar[0].value
    assert sum(share.value for share in shares) == pytest.approx(whole, rel=1e-9, abs=1e-6)


def test_co_tvar_is_the_mean_of_a_group_in_the_worst_scenarios() -> None:
    groups = np.array([[10.0, 0.0], [0.0, 20.0], [5.0, 25.0], [1.0, 1.0]])
    one, other = measures.co_tvar(groups, ("a", "b"), (0.5,))
    assert (one.value, other.value) == (2.5, 22.5)


@given(arrays.arrays(np.float64, st.integers(10, 300), elements=st.floats(-1e9, 1e9)))
def test_measures_are_ordered(sample: np.ndarray) -> None:
    found = measures.measure(sample, (0.5, 0.75, 0.95))
    for quantile, tail in zip(found.quantiles, found.tvar, strict=True):
        assert quantile.lower <= quantile.value <= quantile.upper
        assert tail.value >= quantile.value
        assert np.mean(sample <= quantile.value) >= quantile.level - 1e-12


@given(st.sampled_from([0.025, 0.975]), st.integers(1, 100_000), st.floats(0.001, 0.999))
def test_the_binomial_quantile_is_scipys(level: float, n: int, p: float) -> None:
    assert binomial_quantile(level, n, p) == stats.binom.ppf(level, n, p)


@pytest.mark.parametrize("cv", [0.01, 0.05, 0.3, 1.0])
def test_the_range_of_a_gamma_shock_is_scipys(cv: float) -> None:
    law = stats.gamma(1.0 / cv**2, scale=cv**2)
    assert shock_range(0, cv) == pytest.approx((law.ppf(1e-9), law.isf(1e-9)), rel=1e-12)


@pytest.mark.parametrize(("paths", "compared"), [(900, []), (1000, ["VaR"]), (2000, ["VaR", "TVaR"])])
def test_a_level_is_compared_where_enough_lies_beyond_it(paths: int, compared: list[str]) -> None:
    law = compound_poisson(Gamma(2.0, 500.0), 300.0)
    sample = np.random.default_rng(1).normal(law.mean, law.sd, paths)
    checks = compare("pool", sample, measures.measure(sample, (0.95,)), law)
    assert [check.measure for check in checks] == ["mean", *compared]
