"""Published reserves and their errors. Sources: Mack 1993; England and Verrall 1999, 2002; Merz and Wuthrich 2008."""

import numpy as np
import pytest

from engine.finance.mlr import credibility_adjustment
from simulations.credibility import buhlmann, buhlmann_straub
from simulations.ibnr import bootstrap_plan
from simulations.triangles import chain_ladder, mack, merz_wuthrich, over_dispersed_poisson
from tests.triangles import published

RESAMPLES = 20_000
HACHEMEISTER = np.array(
    [
        [1738, 1642, 1794, 2051, 2079, 2234, 2032, 2035, 2115, 2262, 2267, 2517],
        [1364, 1408, 1597, 1444, 1342, 1675, 1470, 1448, 1464, 1831, 1612, 1471],
        [1759, 1685, 1479, 1763, 1674, 2103, 1502, 1622, 1828, 2155, 2233, 2059],
        [1223, 1146, 1010, 1257, 1426, 1532, 1953, 1123, 1343, 1243, 1762, 1306],
        [1456, 1499, 1609, 1741, 1482, 1572, 1606, 1735, 1607, 1573, 1613, 1690],
    ],
    float,
)
WEIGHTS = np.array(
    [
        [7861, 9251, 8706, 8575, 7917, 8263, 9456, 8003, 7365, 7832, 7849, 9077],
        [1622, 1742, 1523, 1515, 1622, 1602, 1964, 1515, 1527, 1748, 1654, 1861],
        [1147, 1357, 1329, 1204, 998, 1077, 1277, 1218, 896, 1003, 1108, 1121],
        [407, 396, 348, 341, 315, 328, 352, 331, 287, 384, 321, 342],
        [2902, 3172, 3046, 3068, 2693, 2910, 3275, 2697, 2663, 3017, 3242, 3425],
    ],
    float,
)


def test_mack_of_taylor_and_ashe() -> None:
    triangle = published("genins")
    got = mack(triangle)
    assert round(chain_ladder(triangle).reserve.sum()) == 18_680_856
    assert round(got.total) == 2_447_095
    by_origin = [75535, 121699, 133549, 261406, 411010, 558317, 875328, 971258, 1363155]
    assert [round(x) for x in got.by_origin[1:]] == by_origin


def test_mack_of_the_reinsurance_association_of_america() -> None:
    triangle = published("raa")
    assert round(chain_ladder(triangle).reserve.sum()) == 52_135
    assert round(mack(triangle).total) == 26_909


def test_one_year_result_of_merz_and_wuthrich() -> None:
    triangle = published("mw2008")
    assert round(chain_ladder(triangle).reserve.sum()) == 2_237_826
    assert round(mack(triangle).total) == 108_401
    assert merz_wuthrich(triangle).total == pytest.approx(81_080.5, abs=0.05)


@pytest.mark.parametrize(("name", "phi", "prediction"), [("genins", 52_601.36, 2_945_646), ("raa", 983.635, 17_613)])
def test_over_dispersed_poisson(name: str, phi: float, prediction: float) -> None:
    got = over_dispersed_poisson(published(name))
    assert got.phi == pytest.approx(phi, rel=5e-7)
    assert round(got.prediction_error) == prediction


def test_estimation_error_of_the_over_dispersed_poisson() -> None:
    assert round(over_dispersed_poisson(published("genins")).estimation_error) == 2_773_841


def test_bootstrap_of_england_2002() -> None:
    """Table 3, thousands. Without the process variance the standard deviation is 2.78 million: the trap.

    The bootstrap's mean lies about 1 % above the chain ladder's 18,681; chainladder's own, of 10,000, is 18,859.
    """
    fit = over_dispersed_poisson(published("genins"))
    total = bootstrap_plan(fit, "gamma", 7).sample(0, RESAMPLES, 2).sum(axis=1) / 1000
    assert total.mean() == pytest.approx(18_688, rel=0.012)
    assert total.mean() == pytest.approx(18_859, abs=4 * 2956 * np.sqrt(1 / RESAMPLES + 1 / 10_000))
    assert total.std() == pytest.approx(2956, rel=0.03)
    table = {0.5: 18_532, 0.75: 20_640, 0.9: 22_620, 0.95: 23_827, 0.99: 25_967}
    chainladder = {0.5: 18_706, 0.75: 20_709, 0.9: 22_687, 0.95: 23_948, 0.99: 26_680}  # its own, of 10,000
    for level, value in table.items():
        found = np.quantile(total, level)
        assert found == pytest.approx(value, rel=0.015 if level < 0.99 else 0.035), level  # a tail of few resamples
        assert found == pytest.approx(chainladder[level], rel=0.01), level
    trapped = bootstrap_plan(fit, "none", 7).sample(0, RESAMPLES, 2).sum(axis=1)
    assert trapped.std() == pytest.approx(2.78e6, rel=0.03)


def test_credibility_of_hachemeister() -> None:
    plain = buhlmann(HACHEMEISTER)
    assert [round(x) for x in (plain.collective, plain.between, plain.within)] == [1671, 72310, 46040]
    weighted = buhlmann_straub(HACHEMEISTER, WEIGHTS)
    assert [round(x) for x in (weighted.collective, weighted.between, weighted.within)] == [1684, 89639, 139120026]


@pytest.mark.parametrize(
    ("years", "added"),
    [(1000, 0.083), (2500, 0.052), (5000, 0.037), (10_000, 0.026), (25_000, 0.016), (50_000, 0.012), (75_000, 0.0)],
)
def test_credibility_of_the_medical_loss_ratio(years: float, added: float) -> None:
    assert float(credibility_adjustment(years)) == pytest.approx(added)
    assert credibility_adjustment(999) is None
    assert float(credibility_adjustment(1750)) == pytest.approx((0.083 + 0.052) / 2)
