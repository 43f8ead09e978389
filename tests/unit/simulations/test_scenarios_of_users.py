"""Scenarios as users write them, run whole: the right figure, or one line that names the field."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.simulation import job
from cluster.simulation.files import Inputs, read_scenario
from simulations.errors import SpecError
from simulations.reserve import here
from simulations.triangles import Triangle, over_dispersed_poisson

HEAD = "kind: {kind}\nseed: 1\npaths: 1000\nportfolio: members.csv\n"
CATEGORY = """categories:
  - name: all
    frequency: {distribution: poisson, rate: rate}
    severity: {distribution: gamma, shape: 2.0, scale: 500.0}
"""


def simulated(folder: Path, text: str, members: str, kind: str = "reserve") -> dict[str, Any]:
    (folder / "members.csv").write_text(members)
    (folder / "s.yaml").write_text(HEAD.format(kind=kind) + text)
    scenario, document = read_scenario(folder / "s.yaml", {})
    result = job.run(scenario, document, Inputs(folder), here(1)).result
    json.dumps(result, allow_nan=False)
    return result


@pytest.mark.parametrize("areas", ['{"001": 1.0, "002": 1.2, "010": 0.9}', "{001: 1.0, 002: 1.2, 010: 0.9}"])
def test_areas_are_codes_quoted_or_not(tmp_path: Path, areas: str) -> None:
    premium = f"premium: {{line_of_business: individual, base_rate: 3000, area: area, area_factors: {areas}}}\n"
    members = "area,rate\n001,0.5\n001,0.5\n002,0.5\n002,0.5\n002,0.5\n010,0.5\n"
    found = simulated(tmp_path, CATEGORY + premium, members, "premium")
    assert found["premium"]["total"]["premium"] == pytest.approx(3000 * (2 * 1.0 + 3 * 1.2 + 1 * 0.9)) == 19_500


def test_a_group_without_member_years_has_no_ratio_and_changes_no_other(tmp_path: Path) -> None:
    text = "group_by: employer\nexposure: exposure\n" + CATEGORY
    text += "premium: {line_of_business: large_group, base_rate: 2500}\n"
    rows = [f"{'closed,0' if i % 2 else 'open,1'},2.0" for i in range(24)]
    head = "employer,exposure,rate\n"
    both = simulated(tmp_path, text, head + "\n".join(rows) + "\n", "premium")["premium"]
    alone = simulated(tmp_path, text, head + "\n".join(rows[::2]) + "\n", "premium")["premium"]
    assert both["closed"]["premium"] == 0 and both["closed"]["loss_ratio"]["mean"] is None
    assert both["closed"]["why_no_ratio"] == "no premium is charged, so that there is no ratio"
    for name in ("premium", "life_years"):
        assert both["total"][name] == alone["total"][name]
    assert both["total"]["mlr"]["mean"] == pytest.approx(alone["total"]["mlr"]["mean"], abs=0.05)


def test_experience_cannot_be_blended_with_nothing(tmp_path: Path) -> None:
    (tmp_path / "past.csv").write_text(
        "group,period,claims,member_years\nopen,1,9,1\nopen,2,8,1\nclosed,1,9,1\nclosed,2,7,1\n"
    )
    text = "group_by: employer\nexposure: exposure\n" + CATEGORY
    text += "premium: {line_of_business: large_group, base_rate: 2500, experience: {file: past.csv}}\n"
    with pytest.raises(SpecError, match="group 'closed' expects nothing next year"):
        simulated(tmp_path, text, "employer,exposure,rate\nopen,1,2\nclosed,0,2\n", "premium")


def test_groups_with_long_numbers_keep_their_measures(tmp_path: Path) -> None:
    rows = [f"{1_000_001 + i % 3},{(0.5, 1, 2)[i % 3]}" for i in range(120)]
    found = simulated(tmp_path, "group_by: employer\n" + CATEGORY, "employer,rate\n" + "\n".join(rows) + "\n")
    for name, rate in (("1000001", 0.5), ("1000002", 1), ("1000003", 2)):
        gross = found["groups"][name]["gross"]
        assert abs(gross["mean"] - 40 * rate * 1000) < 5 * gross["mean_se"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("{distribution: lognormal, mu: 8900, sigma: 1.1}", r"categories\.0\.severity\.mu: 8900.*log dollars.*9\.094"),
        ("{distribution: lognormal, mu: 40, sigma: 1.1}", r"categories\.0\.severity\.mu: 40 with sigma 1\.1"),
        ("{distribution: weibull, shape: 0.05, scale: 10}", r"categories\.0\.severity: claims of"),
        ("{distribution: gamma, shape: 2.0, scale: 1e400}", r"categories\.0\.severity\.scale"),
        ("{distribution: gamma, shape: true, scale: 1}", r"categories\.0\.severity\.shape"),
    ],
)
def test_severities_that_are_no_money_are_named(tmp_path: Path, change: str, told: str) -> None:
    text = CATEGORY.replace("{distribution: gamma, shape: 2.0, scale: 500.0}", change)
    with pytest.raises(SpecError, match=told):
        simulated(tmp_path, text, "rate\n1\n")


def test_a_limit_above_any_cost_is_none(tmp_path: Path) -> None:
    members = "rate\n" + "1\n" * 20
    cover = "cover: {specific: {attachment: 3000%s}}\n"
    unlimited = simulated(tmp_path, CATEGORY + cover % "", members)["groups"]
    assert simulated(tmp_path, CATEGORY + cover % ", limit: 9999999999", members)["groups"] == unlimited
    with pytest.raises(SpecError, match=r"cover\.specific\.limit"):
        simulated(tmp_path, CATEGORY + cover % ", limit: 999999999999999999", members)


def test_what_is_expected_fits_into_cents(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="dollars of claims expected: more than 1e"):
        simulated(tmp_path, CATEGORY.replace("scale: 500.0", "scale: 1e10"), "rate\n" + "10000\n" * 100)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ("poisson", "negative_binomial, dispersion: 1e-300"),
            r"categories\.0\.frequency\.dispersion: .*or equal to 0\.000000001 .given: 1e-300",
        ),
        (
            ("rate: rate", "rate: 1e-300"),
            r"categories\.0\.frequency\.rate: Input should be 0 or at least 1e-09 .given: 1e-300",
        ),
        (("shape: 2.0", "shape: 1e-300"), r"categories\.0\.severity\.shape: .*or equal to 0\.000000001"),
        (("categories", "exposure: 1e-300\ncategories"), r"^exposure: Input should be 0 or at least 1e-09"),
    ],
)
def test_quantities_that_no_pool_has_are_named(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        simulated(tmp_path, CATEGORY.replace(*change), "rate\n1\n")


def test_a_column_of_what_hardly_happens_is_simulated(tmp_path: Path) -> None:
    for rate in ("1e-12", "1e-300", "0"):
        found = simulated(tmp_path, CATEGORY, f"rate\n{rate}\n{rate}\n")
        assert found["groups"]["total"]["gross"]["mean"] == 0.0


def test_a_triangle_of_amounts_too_large_or_too_far_apart_is_named() -> None:
    with pytest.raises(SpecError, match=r"origin 2020, development 2: 1e\+50 is no amount of money"):
        Triangle(np.array([[10.0, 1e50], [11.0, np.nan]]), ("2020", "2021"))
    cells = np.array([[1e-5, 1e17, 1e17], [1e-5, 1e17, np.nan], [1e-5, np.nan, np.nan]])
    try:
        found = over_dispersed_poisson(Triangle(cells, ("1", "2", "3")))
    except SpecError as refused:
        assert "too far apart" in str(refused)
    else:
        assert np.isfinite([found.estimation_error, found.prediction_error]).all()
