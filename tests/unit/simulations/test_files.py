"""What a scenario names is read as it is, and refused with field and row where it cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from cluster.simulation.files import Inputs
from simulations.errors import SpecError
from simulations.scenario import IbnrScenario, named_files, parse
from tests.triangles import published

IBNR = {"kind": "ibnr", "seed": 1, "paths": 1000}


def ibnr(**changes: Any) -> IbnrScenario:
    made = parse({**IBNR, **changes})
    assert isinstance(made, IbnrScenario)
    return made


def cells(triangle: np.ndarray) -> list[tuple[int, int, float]]:
    n = len(triangle)
    return [(2001 + i, 12 * (j + 1), triangle[i, j]) for i in range(n) for j in range(n - i)]


def test_a_triangle_is_the_same_from_cells_rows_increments_and_claims(tmp_path: Path) -> None:
    known = published("genins").cumulative
    n = len(known)
    (tmp_path / "t.csv").write_text(
        "origin,development,value\n" + "".join(f"{o},{d},{v}\n" for o, d, v in cells(known))
    )
    steps = np.diff(known, axis=1, prepend=0.0)
    lines = [f"{2001 + i}-03-15,{2001 + i + j}-11-02,{steps[i, j]}\n" for i in range(n) for j in range(n - i)]
    (tmp_path / "c.csv").write_text("served,paid,amount\n" + "".join(lines))
    names = {"service_date": "served", "paid_date": "paid", "amount": "amount"}
    rows = [known[i, : n - i].tolist() for i in range(n)]
    increments = [steps[i, : n - i].tolist() for i in range(n)]
    inputs = Inputs(tmp_path)
    for scenario in (
        ibnr(triangle="t.csv"),
        ibnr(triangle=rows),
        ibnr(triangle=increments, cumulative=False),
        ibnr(claims="c.csv", columns=names),
    ):
        found, _ = inputs.triangle(scenario)
        np.testing.assert_allclose(found.cumulative, known, rtol=1e-12)
    assert set(inputs.hashes) == {"t.csv", "c.csv"}


def test_claims_of_months_become_a_monthly_triangle_up_to_as_of(tmp_path: Path) -> None:
    lines = [
        "2024-11-30,2024-12-01,10",
        "2024-11-02,2024-11-20,5",
        "2024-12-24,2024-12-31,7",
        "2025-01-05,2025-01-06,1",
    ]
    (tmp_path / "c.csv").write_text("served,paid,amount\n" + "\n".join(lines) + "\n")
    names = {"service_date": "served", "paid_date": "paid"}
    found, _ = Inputs(tmp_path).triangle(ibnr(claims="c.csv", columns=names, grain="monthly"))
    assert found.origins == ("2024-11", "2024-12", "2025-01")
    np.testing.assert_array_equal(found.cumulative, [[5, 15, 15], [7, 7, np.nan], [1, np.nan, np.nan]])


def test_a_portfolio_of_parquet_has_numbers_and_labels(tmp_path: Path) -> None:
    table = pa.table({"market": ["b", "a", "b"], "rate": [1, 2, 3], "flag": [True, False, True]})
    parquet.write_table(table, tmp_path / "m.parquet")
    document = {
        "kind": "reserve", "seed": 1, "portfolio": "m.parquet", "group_by": "market",
        "categories": [{"name": "x", "frequency": {"distribution": "poisson", "rate": "rate"},
                        "severity": {"distribution": "empirical", "file": "l.csv"}}],
    }  # fmt: skip
    scenario = parse(document)
    assert named_files(scenario) == [("portfolio", "m.parquet"), ("categories.0.severity.file", "l.csv")]
    portfolio = Inputs(tmp_path).portfolio(scenario)
    assert [portfolio.labels("market", "").names[c] for c in portfolio.labels("market", "").codes] == ["b", "a", "b"]
    np.testing.assert_array_equal(portfolio.number("rate", ""), [1, 2, 3])
    np.testing.assert_array_equal(portfolio.number("flag", ""), [1, 0, 1])


@pytest.mark.parametrize(
    ("content", "changes", "told"),
    [
        ("origin,development,value\n1,1,5\n1,2,x\n", {}, "value"),
        ("origin,development,value\n1,1,5\n1,2,\n2,1,4\n", {}, "row 2"),
        ("origin,development\n1,1\n", {}, "no column 'value'"),
        ("origin,development,value\n1,1,5\n1,2,6\n", {}, "1 origins and 2 developments"),
        (None, {}, "is not a file"),
        ("served,paid,amount\n2024-02-01,2024-01-31,5\n", {"claims": "t.csv", "triangle": None}, "row 1: paid before"),
        ("served,paid,amount\n2024-02-30,2024-03-31,5\n", {"claims": "t.csv", "triangle": None}, "service_date"),
    ],
)
def test_a_bad_file_is_named_with_field_and_row(tmp_path: Path, content: Any, changes: Any, told: str) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    names = {"service_date": "served", "paid_date": "paid"}
    with pytest.raises(SpecError, match=told):
        Inputs(tmp_path).triangle(ibnr(**{"triangle": "t.csv", "columns": names, **changes}))
