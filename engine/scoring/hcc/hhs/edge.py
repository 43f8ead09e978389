"""Which claims' diagnoses count for risk adjustment: the rules by which CMS's EDGE server selects claims.

CMS risk adjustment FAQ of 2020 (bill types) and EDGE server FAQ of 2019 (the numbers of the reasons). A claim has one
reason, the first that holds; voided claims go before all others; one eligible service code admits all diagnoses of its
claim. An inpatient who is still a patient (status 30), or of whom no status is given, has no acceptable one; that list
is assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.errors import HccError
from engine.scoring.hcc.hhs.model import load_hhs
from engine.scoring.hcc.hhs.people import renamed
from engine.scoring.hcc.reading import Reader

INPATIENT = ("111", "117")
OUTPATIENT = ("131", "137", "711", "717", "761", "767", "771", "777", "851", "857")
STILL_A_PATIENT = "30"
REASONS: Mapping[str, str] = {
    "void": "voided by another claim",
    "bill": "bill type is not one that counts",
    "R03": "no service code that counts in this benefit year",
    "R04": "inpatient without an acceptable discharge status",
    "R06": "not enrolled on the last day of the claim",
    "R07": "the last day of the claim is not in the benefit year",
    "R09": "supplements a claim that is not there",
    "R10": "supplements a claim that was not accepted",
}


@dataclass(frozen=True)
class Selected:
    """Diagnoses that count (member_id, icd10, service_date), and the claims and supplements that do not, each with a
    reason (claim_id, member_id, rule, reason)."""

    diagnoses: pa.Table
    rejected: pa.Table


def select(claims: pa.Table, enrolments: pa.Table, year: int, supplements: pa.Table | None = None) -> Selected:
    """The diagnoses of a benefit year's claims that count.

    Claims: claim_id, member_id, bill_type (empty for a professional claim), through_date, discharge_status (of
    inpatients), service_codes and icd10, both lists or texts with spaces between, and if there are any voids, the
    claim_id that a claim voids. Enrolments: member_id, start and end, both enrolled. Supplements: claim_id, icd10.
    Raises HccError, naming claim and value.
    """
    reader = Reader(renamed(claims), "claims")
    ids, members = reader.needed("claim_id"), reader.needed("member_id")
    days = reader.days("through_date", reader.needed("through_date"))
    reader.refuse(np.isnan(days), "through_date", reader.needed("through_date"), "must be given")
    reader.refuse_repeated(ids, "claim_id")
    if reader.refused:
        row = min(reader.refused)
        column, value, reason = reader.refused[row]
        raise HccError(f"claim {ids[row].as_py()}: {column} is {value}: {reason}")
    rules = _rules(reader, ids, days, ~_enrolled(members, days, renamed(enrolments)), year)
    codes = _lists(reader.needed("icd10"))
    found = [(i, code) for i in np.flatnonzero(rules == "").tolist() for code in codes[i]]
    rejected = [(ids[i].as_py(), members[i].as_py(), rules[i]) for i in np.flatnonzero(rules != "").tolist()]
    if supplements is not None:
        more = Reader(renamed(supplements), "supplements")
        place = {claim: i for i, claim in enumerate(pc.cast(ids, pa.string()).to_pylist())}
        claimed = pc.cast(more.needed("claim_id"), pa.string()).to_pylist()
        for claim, code in zip(claimed, more.needed("icd10").to_pylist(), strict=True):
            at = place.get(claim)
            if at is not None and rules[at] == "":
                found.append((at, code))
            else:
                rejected.append((claim, None if at is None else members[at].as_py(), "R09" if at is None else "R10"))
    rows = np.array([i for i, _ in found], np.int64)
    told = {
        "claim_id": [str(claim) for claim, _, _ in rejected],
        "member_id": [None if who is None else str(who) for _, who, _ in rejected],
        "rule": [rule for _, _, rule in rejected],
        "reason": [REASONS[rule] for _, _, rule in rejected],
    }
    diagnoses = {
        "member_id": members.take(pa.array(rows)),
        "icd10": pa.array([code for _, code in found], pa.string()),
        "service_date": pc.cast(pa.array(days[rows].astype(np.int32)), pa.date32()),
    }
    return Selected(pa.table(diagnoses), pa.table({name: pa.array(texts, pa.string()) for name, texts in told.items()}))


def _rules(
    reader: Reader, ids: pa.Array, days: NDArray[np.float64], strange: NDArray[np.bool_], year: int
) -> NDArray[np.object_]:
    """The first rule by which each claim does not count, empty for those that do; `strange` are not enrolled."""
    rules = np.full(reader.n, "", object)

    def reject(rule: str, wrong: NDArray[np.bool_]) -> None:
        rules[wrong & (rules == "")] = rule

    reject("void", _voided(reader, ids))
    bills = _texts(reader.needed("bill_type"))
    inpatient = np.isin(bills, INPATIENT)
    reject("bill", ~(inpatient | np.isin(bills, (*OUTPATIENT, ""))))
    reject("R07", (days < _day(f"{year}-01-01")) | (days > _day(f"{year}-12-31")))
    reject("R06", strange)
    if inpatient.any():
        reject("R04", inpatient & np.isin(_texts(reader.needed("discharge_status")), ("", STILL_A_PATIENT)))
    services, every = load_hhs(year).services, _lists(reader.needed("service_codes"))
    reject("R03", ~inpatient & np.array([not services.intersection(codes) for codes in every], np.bool_))
    return rules


def _day(text: str) -> int:
    return int(np.datetime64(text).astype(np.int64))


def _voided(reader: Reader, ids: pa.Array) -> NDArray[np.bool_]:
    voids = reader.column("voids")
    if voids is None:
        return np.zeros(reader.n, np.bool_)
    return np.asarray(pc.is_in(pc.cast(ids, pa.string()), value_set=pc.cast(voids, pa.string()).drop_null().unique()))


def _texts(values: pa.Array) -> NDArray[np.str_]:
    """Codes as text, empty where there is none."""
    texts = pc.fill_null(pc.cast(values, pa.string()), "").to_pylist()
    return np.array([text.strip() for text in texts], np.str_)


def _lists(values: pa.Array) -> list[list[str]]:
    """Codes of each claim, of a column of lists or of texts with spaces between."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return [[str(code).strip().upper() for code in codes or ()] for codes in values.to_pylist()]
    return [(text or "").upper().split() for text in pc.cast(values, pa.string()).to_pylist()]


def _enrolled(members: pa.Array, days: NDArray[np.float64], enrolments: pa.Table) -> NDArray[np.bool_]:
    """Whether each claim's member is enrolled on the claim's last day."""
    reader = Reader(enrolments, "enrolments")
    start, end = (reader.days(name, reader.needed(name)) for name in ("start", "end"))
    who = pc.cast(reader.needed("member_id"), pa.string()).to_pylist()
    spans: dict[str, list[tuple[float, float]]] = {}
    for member, first, last in zip(who, start.tolist(), end.tolist(), strict=True):
        if not first <= last:
            raise HccError(
                f"enrolment of member {member}: start and end must be given, and the start not after the end"
            )
        spans.setdefault(member, []).append((first, last))
    owners = pc.cast(members, pa.string()).to_pylist()
    return np.array(
        [
            any(first <= day <= last for first, last in spans.get(owner, ()))
            for owner, day in zip(owners, days.tolist(), strict=True)
        ],
        np.bool_,
    )
