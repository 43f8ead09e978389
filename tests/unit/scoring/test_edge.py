"""Which claims count for HHS-HCC, one reason each, and that what counts is scored."""

from typing import Any

import pyarrow as pa
import pytest

from engine.errors import HccError
from engine.scoring.hcc.hhs.edge import INPATIENT, OUTPATIENT, select
from engine.scoring.hcc.hhs.model import load_hhs

SERVICE = min(load_hhs(2025).services)
INSIDE = {"member_id": "m", "through_date": "2025-06-10", "icd10": "E1165 I509", "service_codes": SERVICE}
ENROLLED = pa.table({"member_id": ["m"], "start": ["2025-02-01"], "end": ["2025-11-30"]})


def selected(*claims: dict[str, Any], supplements: pa.Table | None = None) -> tuple[list[str], dict[str, str]]:
    """Codes that count, and the rule by which each claim does not."""
    names = dict.fromkeys(("bill_type", "discharge_status", "voids"))
    rows = [{"claim_id": f"c{i}"} | names | INSIDE | claim for i, claim in enumerate(claims)]
    schema = pa.schema([(name, pa.string()) for name in rows[0]])
    found = select(pa.Table.from_pylist(rows, schema), ENROLLED, 2025, supplements)
    return found.diagnoses["icd10"].to_pylist(), dict(
        zip(found.rejected["claim_id"].to_pylist(), found.rejected["rule"].to_pylist(), strict=True)
    )


@pytest.mark.parametrize(
    ("claim", "rule"),
    [
        ({}, None),
        ({"bill_type": "131"}, None),
        ({"bill_type": "111", "discharge_status": "01", "service_codes": ""}, None),
        ({"service_codes": f"XXXXX {SERVICE.lower()}"}, None),
        ({"bill_type": "211"}, "bill"),
        ({"bill_type": "137", "service_codes": "XXXXX"}, "R03"),
        ({"service_codes": None}, "R03"),
        ({"bill_type": "117", "discharge_status": "30"}, "R04"),
        ({"bill_type": "111", "discharge_status": ""}, "R04"),
        ({"through_date": "2025-01-31"}, "R06"),
        ({"through_date": "2025-12-01"}, "R06"),
        ({"member_id": "other"}, "R06"),
        ({"through_date": "2024-12-31"}, "R07"),
        ({"through_date": "2026-01-01", "bill_type": "211"}, "bill"),
    ],
)
def test_a_claim_counts_or_has_one_reason(claim: dict[str, Any], rule: str | None) -> None:
    codes, rejected = selected(claim)
    assert codes == ([] if rule else ["E1165", "I509"])
    assert rejected == ({"c0": rule} if rule else {})


def test_bill_types_are_those_of_cms() -> None:
    assert [*INPATIENT, *OUTPATIENT] == [
        "111",
        "117",
        "131",
        "137",
        "711",
        "717",
        "761",
        "767",
        "771",
        "777",
        "851",
        "857",
    ]


def test_a_voided_claim_goes_first_and_its_void_stays() -> None:
    codes, rejected = selected({"bill_type": "211"}, {"voids": "c0", "icd10": "F329"})
    assert codes == ["F329"] and rejected == {"c0": "void"}


def test_a_supplement_needs_its_accepted_claim() -> None:
    supplements = pa.table({"claim_id": ["c0", "c1", "c9"], "icd10": ["C9100", "D66", "D66"]})
    codes, rejected = selected({}, {"service_codes": ""}, supplements=supplements)
    assert codes == ["E1165", "I509", "C9100"] and rejected == {"c1": "R10", "c9": "R09"}


def test_what_cannot_be_used_is_named() -> None:
    with pytest.raises(HccError, match="claim c0: through_date is '2025-13-01': must be YYYY-MM-DD"):
        selected({"through_date": "2025-13-01"})
    with pytest.raises(HccError, match="claim c0: claim_id is 'c0': appears more than once"):
        selected({}, {"claim_id": "c0"})
    with pytest.raises(HccError, match="supplements have no column icd10"):
        selected({}, supplements=pa.table({"claim_id": ["c0"]}))
    for column in ("bill_type", "service_codes"):
        row = {"claim_id": "a", "bill_type": "", **INSIDE}
        del row[column]
        with pytest.raises(HccError, match=f"claims have no column {column}"):
            select(pa.Table.from_pylist([row]), ENROLLED, 2025)
    with pytest.raises(HccError, match="claim c0: through_date is missing"):
        selected({"through_date": None})
    without = {"claim_id": "a", "bill_type": "", **{name: text for name, text in INSIDE.items() if name != "icd10"}}
    with pytest.raises(HccError, match="claims have no column icd10"):
        select(pa.Table.from_pylist([without]), ENROLLED, 2025)
    bad = ENROLLED.set_column(2, "end", pa.array(["2024-01-01"]))
    with pytest.raises(HccError, match="enrolment of member m: start and end"):
        select(pa.Table.from_pylist([{"claim_id": "a", "service_codes": "", **INSIDE}]), bad, 2025)
