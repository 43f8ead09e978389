"""Members and diagnoses as columns, checked: what cannot be scored is named, and nothing is defaulted in silence."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.domain.age import completed_years
from engine.errors import HccError
from engine.scoring.hcc.model import SEGMENTS
from engine.scoring.hcc.reading import OLDEST, SEX_CODES, SEXES_ALLOWED, Reader, Refusal

FULL_BENEFIT = ("02", "04", "08")
PARTIAL_BENEFIT = ("01", "03", "05", "06")
_DUAL_CODES = {f"{n:02d}": n for n in range(11)} | {"NA": 0, "": 0}
_OREC_CODES = {"0": 0, "1": 1, "2": 2, "3": 3}
_FLAGS = ("new_enrollee", "snp", "lti")
_LOOKUP = {"sex": SEX_CODES, "orec": _OREC_CODES, "dual": _DUAL_CODES}
_ALLOWED = {"sex": SEXES_ALLOWED, "orec": "0 to 3", "dual": "00 to 10 or NA"}


@dataclass(frozen=True)
class Members:
    """Members ready for the kernels, in the order given; arrays of one length.

    `rows` are their rows in the table they came from. `female` 1 or 0, `age` in completed years on 1 February of the
    payment year, `segment` an index of SEGMENTS.
    """

    ids: pa.Array
    rows: NDArray[np.int64]
    age: NDArray[np.int16]
    female: NDArray[np.int8]
    orec: NDArray[np.int8]
    ltimcaid: NDArray[np.bool_]
    nemcaid: NDArray[np.bool_]
    segment: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, rows: Sequence[int]) -> "Members":
        """These members but for some, by their place here."""
        kept = np.ones(len(self), np.bool_)
        kept[list(rows)] = False
        return Members(
            self.ids.filter(pa.array(kept)),
            self.rows[kept],
            self.age[kept],
            self.female[kept],
            self.orec[kept],
            self.ltimcaid[kept],
            self.nemcaid[kept],
            self.segment[kept],
        )


def _ages(reader: Reader, payment_year: int) -> NDArray[np.int16]:
    """`age` where it is given, else completed years from `birth_date` to 1 February of the payment year."""
    given, born = reader.column("age"), reader.column("birth_date")
    if given is None and born is None:
        raise HccError("members have neither a column age nor birth_date")
    years = np.full(reader.n, np.nan)
    if born is not None:
        days = reader.days("birth_date", born)
        known = ~np.isnan(days)
        dates = np.where(known, days, 0).astype(np.int64).astype("M8[D]")
        years = np.where(known, completed_years(dates, dt.date(payment_year, 2, 1)), np.nan)
    stated = np.zeros(reader.n, np.bool_)
    if given is not None:
        numbers = reader.numbers("age", given, "years")
        stated = ~np.isnan(numbers)
        years = np.where(stated, np.floor(numbers), years)
    column = given if born is None else born
    assert column is not None
    name = "age" if born is None else "birth_date"
    reader.refuse(np.isnan(years), name, column, "age or birth_date must be given")
    impossible = (years < 0) | (years > OLDEST)
    for source, shown, told in (("age", given, stated), ("birth_date", born, ~stated)):
        if shown is not None:
            bad = impossible & told
            reader.refuse(bad, source, shown, f"gives an age of {_first(years, bad)}, not 0 to {OLDEST}")
    return np.where(np.isnan(years) | impossible, 0, years).astype(np.int16)


def _first(years: NDArray[np.float64], bad: NDArray[np.bool_]) -> str:
    return f"{years[bad][0]:g}" if bad.any() else ""


def _segments(
    reader: Reader, age: NDArray[np.int16], orec: NDArray[np.int64], dual: NDArray[np.int64], recodes_64: bool
) -> NDArray[np.int8]:
    new, snp, lti = (reader.flag(name) for name in _FLAGS)
    both = new & lti
    if both.any():
        values = pa.array(both)
        reader.refuse(both, "new_enrollee", values, "a new enrollee cannot be long-term institutional (lti)")
    aged = (age >= 65) | (recodes_64 & (age == 64) & (orec == 0))
    full, partial = (np.isin(dual, [int(code) for code in codes]) for codes in (FULL_BENEFIT, PARTIAL_BENEFIT))
    community = np.where(full, 2, np.where(partial, 4, 0)) + ~aged
    index = {name: i for i, name in enumerate(SEGMENTS)}
    found = np.where(lti, index["INSTITUTIONAL"], np.where(new, np.where(snp, index["NE_SNP"], index["NE"]), community))
    return found.astype(np.int8)


def read_members(table: pa.Table, payment_year: int, recodes_64: bool) -> tuple[Members, list[Refusal]]:
    """The members of a table who can be scored, and a refusal for each who cannot.

    Columns: member_id, birth_date or age (which counts where both are given), sex, orec, and where they are there dual,
    new_enrollee, snp, lti, ltimcaid, nemcaid. Raises HccError for a column that is missing. `recodes_64` is the
    model's rule that 64 years and entitled by age count as 65.
    """
    reader = Reader(table)
    ids = reader.needed("member_id")
    reader.refuse(np.asarray(pc.is_null(ids)), "member_id", ids, "must be given")
    reader.refuse_repeated(ids)
    age = _ages(reader, payment_year)
    female = reader.codes("sex", _LOOKUP["sex"], _ALLOWED["sex"])
    orec = reader.codes("orec", _LOOKUP["orec"], _ALLOWED["orec"])
    dual = np.zeros(reader.n, np.int64)
    given = reader.column("dual")
    if given is not None and given.null_count < reader.n:
        dual = reader.codes("dual", _LOOKUP["dual"], _ALLOWED["dual"])
    medicaid = dual != 0
    segment = _segments(reader, age, orec, dual, recodes_64)
    ltimcaid, nemcaid = reader.flag("ltimcaid", medicaid), reader.flag("nemcaid", medicaid)
    if recodes_64:
        age = np.where((age == 64) & (orec == 0), 65, age).astype(np.int16)
    refusals = reader.refusals(ids)
    members = Members(
        ids,
        np.arange(reader.n),
        age,
        female.astype(np.int8),
        orec.astype(np.int8),
        ltimcaid,
        nemcaid,
        segment,
    )
    return (members.without(list(reader.refused)) if refusals else members), refusals
