"""What a scenario names is read as it is, and refused with field and row where it cannot be."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from cluster.simulation.files import Inputs, _column, read_scenario
from cluster.simulation.job import Checkpointed, run
from simulations.errors import SpecError
from simulations.ibnr import bootstrap_plan
from simulations.reserve import here
from simulations.scenario import IbnrScenario, PoolScenario, named_files, parse
from simulations.triangles import chain_ladder, over_dispersed_poisson
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


def reserve(**changes: Any) -> PoolScenario:
    category = {
        "name": "all",
        "frequency": {"distribution": "poisson", "rate": "rate"},
        "severity": {"distribution": "gamma", "shape": 2.0, "scale": 1000.0},
    }
    made = parse({"kind": "reserve", "seed": 1, "portfolio": "m.csv", "categories": [category], **changes})
    assert isinstance(made, PoolScenario)
    return made


def test_names_that_look_like_numbers_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("employer,rate\n1000001,0.5\n1000002,1\n0010,2\n")
    labels = Inputs(tmp_path).portfolio(reserve(group_by="employer")).labels("employer", "group_by")
    assert labels.names == ("1000001", "1000002", "0010")
    numbers = pa.table({"employer": [1000001, 1000002], "share": [0.1, 0.30000000000000004], "rate": [1, 2]})
    parquet.write_table(numbers, tmp_path / "m.parquet")
    portfolio = Inputs(tmp_path).portfolio(reserve(portfolio="m.parquet"))
    assert portfolio.labels("employer", "").names == ("1000001", "1000002")
    assert portfolio.labels("share", "").names == ("0.1", "0.30000000000000004")


def test_columns_that_nobody_asks_for_may_hold_anything(tmp_path: Path) -> None:
    odd = {"why": pa.nulls(2), "tags": [["a"], []], "some": ["x", None], "raw": [b"\xff", b""]}
    parquet.write_table(pa.table({"rate": [1.0, 2.0], **odd}), tmp_path / "m.parquet")
    portfolio = Inputs(tmp_path).portfolio(reserve(portfolio="m.parquet"))
    np.testing.assert_array_equal(portfolio.number("rate", ""), [1, 2])
    assert set(portfolio.columns) == {"rate", *odd}
    for name, told in (("why", "row 1 is empty"), ("tags", "holds no names"), ("some", "row 2 is empty")):
        with pytest.raises(SpecError, match=told):
            portfolio.labels(name, "group_by")


def test_a_views_odd_types_are_text(tmp_path: Path) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    table = pa.table({"employer": _column([one, other]), "plan": _column([{"a": 1}, None]), "rate": _column([1, 2.5])})
    parquet.write_table(table, tmp_path / "m.parquet")
    portfolio = Inputs(tmp_path).portfolio(reserve(portfolio="m.parquet"))
    assert portfolio.labels("employer", "group_by").names == (str(one), str(other))
    np.testing.assert_array_equal(portfolio.number("rate", ""), [1, 2.5])


def payments(folder: Path, rows: str) -> Any:
    (folder / "t.csv").write_text("origin,development,value\n" + rows.replace(" ", "\n") + "\n")
    return Inputs(folder).triangle(ibnr(triangle="t.csv", cumulative=False))[0]


def test_payments_of_one_cell_are_added_up(tmp_path: Path) -> None:
    found = payments(tmp_path, "2021,1,60 2021,1,40 2021,2,50 2021,3,20 2022,1,110 2022,2,55 2023,1,120")
    assert chain_ladder(found).reserve.sum() == pytest.approx(106)  # factors 1.5 and 1.13333: 22 + 84


def test_a_year_in_which_nothing_was_paid_is_a_year(tmp_path: Path) -> None:
    old = "2019,1,100 2019,2,50 2019,3,20 2019,4,10 2020,1,110 2020,2,55 2020,3,22 2020,4,11"
    found = payments(tmp_path, f"{old} 2022,1,120 2022,2,60 2023,1,130")
    assert found.origins == ("2019", "2020", "2021", "2022", "2023")
    ladder = chain_ladder(found)
    np.testing.assert_allclose(ladder.factors, [1.5, 340 / 300, 180 / 170, 1.0])
    np.testing.assert_allclose(ladder.reserve, [0, 0, 0, 36, 104])
    odp = over_dispersed_poisson(found)
    assert odp.reserve == pytest.approx(140) and np.isfinite(odp.prediction_error)


def test_nothing_is_paid_late(tmp_path: Path) -> None:
    """A book that is paid out before its last age has a reserve, and a distribution of it."""
    found = payments(tmp_path, "2021,1,100 2021,2,50 2021,3,0 2022,1,110 2022,2,54 2023,1,120")
    odp = over_dispersed_poisson(found)
    assert odp.reserve == pytest.approx(chain_ladder(found).reserve.sum())
    assert odp.degrees == 5 - (3 + 2 - 1)  # five cells in which something was paid, three origins, two ages
    sample = bootstrap_plan(odp, "gamma", 1).sample(0, 2_000)
    assert np.isfinite(sample).all() and (sample[:, 1] == 0).all() and sample[:, 2].std() > 0


def test_where_there_is_no_distribution_chain_ladder_is_told(tmp_path: Path) -> None:
    payments(tmp_path, "1,1,100 1,2,50 1,3,-20 2,1,110 2,2,60 3,1,120")
    told = (
        r"triangle: development 3 takes back money in total, .*no distribution; the reserves of chain ladder are "
        r"1 0\.00, 2 -22\.67, 3 38\.48, in total 15\.81"
    )
    with pytest.raises(SpecError, match=told):
        run(ibnr(triangle="t.csv", cumulative=False), {}, Inputs(tmp_path), here(1))


def test_an_origin_without_payments_is_said_to_have_no_reserve(tmp_path: Path) -> None:
    payments(tmp_path, "1,1,100 1,2,50 1,3,20 2,1,110 2,2,60 3,1,0")
    found = run(ibnr(triangle="t.csv", cumulative=False), {}, Inputs(tmp_path), here(1)).result
    assert found["reserves"]["chain_ladder"][2] == 0
    assert found["notes"] == ["nothing is paid in origin 3 yet: chain ladder reserves nothing for it"]


def test_a_group_must_have_a_name(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("employer,rate\na,1\n ,2\n")
    with pytest.raises(SpecError, match="column 'employer', row 2 is blank"):
        Inputs(tmp_path).portfolio(reserve(group_by="employer")).labels("employer", "group_by")


def test_a_triangle_that_fits_exactly_has_no_error(tmp_path: Path) -> None:
    found = payments(tmp_path, "2021,1,100 2021,2,50 2021,3,20 2022,1,100 2022,2,50 2023,1,100")
    sample = bootstrap_plan(over_dispersed_poisson(found), "gamma", 1).sample(0, 100)
    np.testing.assert_allclose(sample, np.tile([0.0, 20.0, 70.0], (100, 1)), rtol=1e-9)


def test_months_of_the_calendar_follow_one_another(tmp_path: Path) -> None:
    found = payments(tmp_path, "202311,1,9 202311,2,4 202311,3,1 202312,1,8 202312,2,3 202401,1,7")
    assert found.origins == ("202311", "202312", "202401")
    found = payments(tmp_path, "20233,1,9 20233,2,4 20233,3,1 20234,1,8 20234,2,3 20241,1,7")
    assert found.origins == ("20233", "20234", "20241")


def test_numbers_that_are_no_periods_are_no_gap_of_many(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="origin 2 is missing between 1 and 500"):
        payments(tmp_path, "1,1,9 1,2,4 500,1,8")


def test_ages_may_begin_within_the_first_period(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("origin,development,value\n2022,3,5\n2022,15,6\n2023,3,4\n")
    assert Inputs(tmp_path).triangle(ibnr(triangle="t.csv"))[0].size == 2


CLAIMS = "served,paid,amount\n2022-03-01,2022-06-30,100\n2022-03-01,2023-06-30,50\n2023-03-01,2023-06-30,110\n"
NAMES = {"service_date": "served", "paid_date": "paid"}


def test_lines_not_paid_yet_have_paid_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CLAIMS + "2023-05-01,,75\n")
    inputs = Inputs(tmp_path)
    found, _ = inputs.triangle(ibnr(claims="c.csv", columns=NAMES))
    np.testing.assert_array_equal(found.cumulative, [[100, 150], [110, np.nan]])
    assert inputs.notes == ["1 claim lines have no paid: nothing is paid on them yet"]


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        ("2023-06-29", [[100, 100], [0, np.nan]]),
        ("2023-06-30", [[100, 150], [110, np.nan]]),
        ("2023", [[100, 150], [110, np.nan]]),
        ("2022-12", [[100]]),
    ],
)
def test_no_payment_after_as_of_counts(tmp_path: Path, as_of: str, expected: list[list[float]]) -> None:
    (tmp_path / "c.csv").write_text(CLAIMS)
    scenario = ibnr(claims="c.csv", columns=NAMES, as_of=as_of)
    if len(expected) == 1:
        with pytest.raises(SpecError, match="at least 2"):
            Inputs(tmp_path).triangle(scenario)
        return
    np.testing.assert_array_equal(Inputs(tmp_path).triangle(scenario)[0].cumulative, expected)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"triangle": "t.csv", "seed": True}, "seed"),
        ({"triangle": "t.csv", "paths": "1000"}, "paths"),
        ({"triangle": "t.csv", "paths": 1000.5}, "paths"),
        ({"triangle": [[1.0, float("nan")], [1.0]]}, "triangle"),
        ({"claims": "c.csv", "exposure": "e"}, "exposure"),
        ({"triangle": [[1.0, 2.0], [1.0]], "exposure": "e"}, "exposure"),
        ({"triangle": "t.csv", "as_of": "2024"}, "as_of"),
        ({"claims": "c.csv", "as_of": "soon"}, "as_of"),
        ({"triangle": "t.csv", "kind": ["ibnr"]}, "kind"),
        ({"triangle": object()}, "scenario"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_by_its_field(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        parse({**IBNR, **changes})


def test_whole_numbers_may_be_written_with_an_exponent() -> None:
    assert ibnr(triangle="t.csv", paths=1e4).paths == 10_000


def test_a_document_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"kind: ibnr\nname: \xff\n")
    with pytest.raises(SpecError, match="UTF-8"):
        read_scenario(tmp_path / "s.yaml", {})
    with pytest.raises(SpecError, match="cannot be read"):
        read_scenario(tmp_path, {})


def test_a_run_on_other_data_takes_nothing_from_the_checkpoint(tmp_path: Path) -> None:
    scenario = ibnr(triangle="t.csv", paths=200, cumulative=False)
    made: list[float] = []
    for factor in (1, 2):
        payments(
            tmp_path,
            " ".join(
                f"{o},{d},{factor * v}"
                for o, d, v in ((1, 1, 90), (1, 2, 50), (1, 3, 9), (2, 1, 95), (2, 2, 40), (3, 1, 99))
            ),
        )
        inputs = Inputs(tmp_path)
        kept = Checkpointed(here(1), tmp_path / "checkpoint", {"seed": 1}, lambda *_: None, inputs.hashes)
        made.append(run(scenario, {}, inputs, kept).result["groups"]["total"]["unpaid"]["mean"])  # it is never cleared
        assert kept.resumed == 0
    assert made[1] == pytest.approx(2 * made[0], rel=1e-6)
    again = Checkpointed(here(1), tmp_path / "checkpoint", {"seed": 1}, lambda *_: None, inputs.hashes)
    run(scenario, {}, Inputs(tmp_path), again)
    assert again.resumed > 0
    again.clear()
    assert len([*(tmp_path / "checkpoint").iterdir()]) == 1


@pytest.mark.parametrize(
    ("content", "changes", "told"),
    [
        ("origin,development,value\n1,1,5\n1,2,x\n", {}, "value"),
        ("origin,development,value\n1,1,5\n1,2,\n2,1,4\n", {}, "row 2"),
        ("origin,development\n1,1\n", {}, "no column 'value'"),
        (
            "origin,development,value\n1,1,5\n1,2,6\n",
            {},
            "row 2: origin 1, development 2 lies beyond the diagonal of 1",
        ),
        ("origin,development,value\n1,1,5\n2,1,6\n", {}, "2 origins and 1 developments"),
        ("origin,development,value\n1,1,5\n1,2,6\n2,1,4\n1,1,7\n", {}, "origin 1, development 1 is given 2 times"),
        ("origin,development,value\n2020,1,5\n2020,2,6\n2022,1,4\n", {}, "origin 2021 is missing"),
        ("origin,development,value\n202013,1,5\n", {}, "row 1: 202013 is no month"),
        ("origin,development,value\n", {}, "no rows"),
        ("origin,development,value\n1,1,5\n900,1,5\n", {}, "spans 900 periods"),
        ("origin,origin,value\n1,1,5\n", {}, "'origin' more than once"),
        ('origin,development,value\n1,1,"1,234"\n', {}, "row 1: '1,234' is no number"),
        (b"origin,development,value\n1,1,\xff\n", {}, "value"),
        ("served,paid,amount\n,2024-01-31,5\n", {"claims": "t.csv", "triangle": None}, "'served', row 1 is empty"),
        ("served,paid,amount\n2024-01-31,,5\n", {"claims": "t.csv", "triangle": None}, "no payment"),
        ("served,paid,amount\n20240131,2024-01-31,5\n", {"claims": "t.csv", "triangle": None}, "service_date"),
        (None, {}, "is not a file"),
        ("served,paid,amount\n2024-02-01,2024-01-31,5\n", {"claims": "t.csv", "triangle": None}, "row 1: paid before"),
        ("served,paid,amount\n2024-02-30,2024-03-31,5\n", {"claims": "t.csv", "triangle": None}, "service_date"),
    ],
)
def test_a_bad_file_is_named_with_field_and_row(tmp_path: Path, content: Any, changes: Any, told: str) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    names = {"service_date": "served", "paid_date": "paid"}
    with pytest.raises(SpecError, match=told):
        Inputs(tmp_path).triangle(ibnr(**{"triangle": "t.csv", "columns": names, **changes}))
