"""Plan liability risk scores: what the transfer formula takes from the scores of a plan's enrollees.

Of a plan in a rating area: the sum of enrollees' scores with cost sharing times months, over the billable months alone.
A family pays for its three oldest children under 21 only, so a fourth counts above and not below. Months are days over
a twelfth of the year's days; they cancel where all are billable. 45 CFR 153.320(b)(3) and the HHS notice of benefit and
payment parameters; there is no score of an issuer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.domain.age import completed_years
from engine.domain.events import METALS
from engine.errors import HccError
from engine.scoring.hcc.hhs.people import days_of, read_enrolments, renamed
from engine.scoring.hcc.hhs.score import HhsScorer
from engine.scoring.hcc.reading import Reader

CHILD_UNDER = 21
MOST_CHILDREN = 3
_CENTI = 100_000
"""Scores with cost sharing are whole numbers of hundred thousandths."""


@dataclass(frozen=True)
class Enrolments:
    """A row for each enrolment of a person in a plan, with the person's score there.

    `csr_score` in hundred thousandths; `days` enrolled; `billable` whether the row's months count below the line.
    """

    member_id: pa.Array
    plan_id: pa.Array
    rating_area: pa.Array
    metal: NDArray[np.int8]
    csr_score: NDArray[np.int64]
    days: NDArray[np.int64]
    billable: NDArray[np.bool_]
    benefit_year: int

    def table(self) -> pa.Table:
        """member_id, plan_id, rating_area, metal, csr_score, days, billable."""
        return pa.table(
            {
                "member_id": self.member_id,
                "plan_id": self.plan_id,
                "rating_area": self.rating_area,
                "metal": pa.DictionaryArray.from_arrays(self.metal, list(METALS)),
                "csr_score": self.csr_score / _CENTI,
                "days": self.days,
                "billable": self.billable,
            }
        )


def enrolments(scorer: HhsScorer, table: pa.Table) -> Enrolments:
    """The enrolments of a scorer's persons, each scored at the plan's metal and months.

    Columns: member_id, plan_id, rating_area, metal, days (in this plan in the year), and if there are any csr,
    duration (months, by which CMS's categories go; else told by the days), age_last, and billable or family_id with
    relationship (subscriber, spouse, child), of which the fourth child under 21 and younger is not billable. A person's
    diagnoses count in each of the person's plans. Raises HccError, naming member and value.
    """
    reader = Reader(renamed(table), "enrolments")
    ids = reader.needed("member_id")
    rows = scorer.index.rows(ids)
    reader.refuse(rows < 0, "member_id", ids, "is no member")
    plan, area = reader.needed("plan_id"), reader.needed("rating_area")
    for name, values in (("plan_id", plan), ("rating_area", area)):
        reader.refuse(np.asarray(pc.is_null(values)), name, values, "must be given")
    people = read_enrolments(reader, scorer.persons, np.maximum(rows, 0), scorer.benefit_year)
    days = reader.numbers("days", reader.needed("days"), "days")
    year_days = days_of(scorer.benefit_year)
    whole = (days >= 1) & (days <= year_days) & (days == np.floor(days))
    reader.refuse(~whole, "days", reader.needed("days"), f"must be 1 to {year_days} days")
    billable = _billable(reader, people.born, scorer.benefit_year)
    refusals = reader.refusals(ids)
    if refusals:
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        raise HccError(f"enrolments: {refusals[0]}{more}")
    scores = scorer.scores_of(people, rows)
    return Enrolments(
        pc.cast(ids, pa.string()),
        pc.cast(plan, pa.string()),
        pc.cast(area, pa.string()),
        people.metal,
        scores.astype(np.int64) * people.csr,
        days.astype(np.int64),
        billable,
        scorer.benefit_year,
    )


def _billable(reader: Reader, born: NDArray[np.int64], year: int) -> NDArray[np.bool_]:
    """Whose months are billed: as the column says, or by families; everybody's where neither is given."""
    if reader.column("billable") is not None:
        return reader.flag("billable")
    family = reader.column("family_id")
    if family is None:
        return np.ones(reader.n, np.bool_)
    kinds: Mapping[str, int] = {"SUBSCRIBER": 0, "SPOUSE": 0, "CHILD": 1}
    child = reader.codes("relationship", kinds, "subscriber, spouse or child") == 1
    reader.refuse(np.asarray(pc.is_null(family)), "family_id", family, "must be given")
    young = child & (completed_years(born.astype("M8[D]"), np.datetime64(f"{year}-01-01")) < CHILD_UNDER)
    plan, members = reader.needed("plan_id").to_pylist(), reader.needed("member_id").to_pylist()
    families: dict[tuple[object, object], dict[object, int]] = {}
    for i in np.flatnonzero(young).tolist():
        families.setdefault((plan[i], family[i].as_py()), {})[members[i]] = int(born[i])
    paid = {
        (key, member)
        for key, children in families.items()
        for _, _, member in sorted((day, str(member), member) for member, day in children.items())[:MOST_CHILDREN]
    }
    return np.array(
        [not young[i] or ((plan[i], family[i].as_py()), members[i]) in paid for i in range(reader.n)], np.bool_
    )


def liability(found: Enrolments) -> pa.Table:
    """Plan liability risk scores: plan_id, rating_area, metal, enrollees, months, billable_months and plrs.

    A row for each plan, rating area and metal, in this order; `plrs` is null where no month is billable. The sums are
    of whole numbers, so that neither order nor repetition of the work changes a bit.
    """
    table = pa.table(
        {
            "plan_id": found.plan_id,
            "rating_area": found.rating_area,
            "metal": pa.DictionaryArray.from_arrays(found.metal, list(METALS)).dictionary_decode(),
            "member_id": found.member_id,
            "days": found.days,
            "billed": np.where(found.billable, found.days, 0),
            "weighed": found.csr_score * found.days,
        }
    )
    keys = ["plan_id", "rating_area", "metal"]
    sums = table.group_by(keys, use_threads=False).aggregate(
        [("member_id", "count_distinct"), ("days", "sum"), ("billed", "sum"), ("weighed", "sum")]
    )
    sums = sums.sort_by([(key, "ascending") for key in keys])
    billed, weighed = (np.asarray(sums[f"{name}_sum"]) for name in ("billed", "weighed"))
    month = days_of(found.benefit_year) / 12
    with np.errstate(divide="ignore", invalid="ignore"):
        plrs = np.where(billed > 0, weighed / (billed * _CENTI), np.nan)
    return pa.table(
        {
            **{key: sums[key] for key in keys},
            "enrollees": sums["member_id_count_distinct"],
            "months": np.asarray(sums["days_sum"]) / month,
            "billable_months": billed / month,
            "plrs": pa.array(plrs, from_pandas=True),
        }
    )
