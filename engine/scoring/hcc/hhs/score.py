"""HHS-HCC risk scores of persons from their diagnoses and drugs: the same integers in any order and any batches."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.domain.events import METALS
from engine.errors import HccError
from engine.scoring.hcc.hhs import kernels
from engine.scoring.hcc.hhs.compiled import WORDS, CompiledHhs, compiled_hhs
from engine.scoring.hcc.hhs.model import ADULT, INFANT, MATURITIES, MODELS, RXCS, HhsModel, load_hhs
from engine.scoring.hcc.hhs.people import NO_FACTOR, Persons, read_persons, renamed
from engine.scoring.hcc.kernels import MALFORMED
from engine.scoring.hcc.member_index import MemberIndex
from engine.scoring.hcc.reading import Reader, Refusal
from engine.scoring.hcc.score import Columns, encode_codes, from_sets_and_told, sets_and_told, told

REASONS: Mapping[int, str] = {
    kernels.NO_DATE: "has no date of service",
    kernels.OUTSIDE: "is of another year",
    kernels.BEFORE_BIRTH: "is before birth",
    kernels.TOO_OLD: "is at an age above age_last",
    kernels.TOO_YOUNG: "is at an age more than a year below age_last",
}
NOT_ADULT = "drug classes count for adults only"
NO_CODE = "is no ICD-10-CM code"
NO_NEWBORN = "age 0 without a newborn's HCC: scored as AGE1"
_EXCLUSIONS = pa.schema(
    [("member_id", pa.string()), ("kind", pa.string()), ("code", pa.string()), ("reason", pa.string())]
)
_NDC_DIGITS = 11


@dataclass(frozen=True)
class HhsScores:
    """Scores of the persons that could be scored, in the order given.

    `hccs` [persons, 3] are the payment HCCs, before groups; `rxcs` the standing drug classes as bits; `variables` up
    to `ends` [persons] are each person's, as rows of the model's coefficients; `raw` are thousandths
    [persons, 1] at each person's metal or [persons, 5] at all. `excluded` are the diagnoses and drugs that do not
    count, a table of member_id, kind, code and reason; `notes` (member_id, note) is what a reader should know of.
    """

    model: HhsModel
    persons: Persons
    hccs: NDArray[np.uint64]
    rxcs: NDArray[np.int64]
    ends: NDArray[np.int64]
    variables: NDArray[np.int32]
    raw: NDArray[np.int32]
    excluded: pa.Table
    refused: tuple[Refusal, ...] = ()

    @property
    def score(self) -> NDArray[np.float64]:
        """Score at each person's metal, exact to three decimals."""
        return self._own() / 1000

    @property
    def csr_score(self) -> NDArray[np.float64]:
        """Score times the factor of cost sharing, exact to five decimals."""
        return self._own().astype(np.int64) * self.persons.csr / (1000 * NO_FACTOR)

    def _own(self) -> NDArray[np.int32]:
        return self.raw[np.arange(len(self.raw)), self.persons.metal] if self.raw.shape[1] > 1 else self.raw[:, 0]

    def hcc_lists(self) -> pa.ListArray:
        """The payment HCCs of each person in ascending order, such as 35_1."""
        return _lists(self.hccs, pa.array(self.model.hccs))

    def rxc_lists(self) -> pa.ListArray:
        """The drug classes of each person that stand, in ascending order."""
        words = np.zeros((len(self.rxcs), WORDS), np.uint64)
        words[:, 0] = self.rxcs
        return _lists(words, pa.array(np.arange(RXCS + 1, dtype=np.int32)))

    def table(self) -> pa.Table:
        """member_id, benefit_year, model, metal, hccs, rxcs, score, csr_score, and score_<metal> where all are."""
        columns = {
            "member_id": self.persons.ids,
            "benefit_year": np.full(len(self.persons), self.model.benefit_year, np.int16),
            "model": pa.DictionaryArray.from_arrays(self.persons.model, list(MODELS)),
            "metal": pa.DictionaryArray.from_arrays(self.persons.metal, list(METALS)),
            "hccs": self.hcc_lists(),
            "rxcs": self.rxc_lists(),
            "score": self.score,
            "csr_score": self.csr_score,
        }
        if self.raw.shape[1] > 1:
            columns |= {f"score_{metal}": self.raw[:, i] / 1000 for i, metal in enumerate(METALS)}
        return pa.table(columns)

    def ledger(self) -> pa.Table:
        """What the scores are made of: member_id, variable, and the coefficient at the own metal or at all five."""
        people, variables = self.persons, self.variables
        rows = np.repeat(np.arange(len(people), dtype=np.int32), np.diff(self.ends, prepend=0))
        prices = np.ascontiguousarray(self.model.coefficients.T / 1000)
        columns: dict[str, Any] = {
            "member_id": pa.DictionaryArray.from_arrays(pa.array(rows), people.ids),
            "variable": pa.DictionaryArray.from_arrays(variables, [name for _, name in self.model.variables]),
        }
        if self.raw.shape[1] > 1:
            columns |= {f"coefficient_{metal}": prices[i].take(variables) for i, metal in enumerate(METALS)}
        else:
            columns |= {"coefficient": prices[people.metal[rows], variables]}
        return pa.table(columns)

    def notes(self) -> pa.Table:
        """member_id and note: newborns whose claims carry no newborn's HCC."""
        newborn = {hcc for name in MATURITIES for hcc in self.model.sets["infant"][name]}
        words = np.zeros(WORDS, np.uint64)
        for bit, hcc in enumerate(self.model.hccs):
            if hcc in newborn:
                words[bit // 64] |= np.uint64(1 << bit % 64)
        lacking = (
            (self.persons.model == INFANT) & (self.persons.age_last == 0) & ~((self.hccs & words) != 0).any(axis=1)
        )
        ids = pc.cast(self.persons.ids.filter(pa.array(lacking)), pa.string())
        return pa.table({"member_id": ids, "note": pa.array([NO_NEWBORN] * len(ids), pa.string())})


def _lists(words: NDArray[np.uint64], names: pa.Array) -> pa.ListArray:
    offsets = np.zeros(len(words) + 1, np.int32)
    kernels.list_bits(words, offsets, np.empty(0, np.int32))
    bits = np.empty(int(offsets[-1]), np.int32)
    if len(bits):
        kernels.list_bits(words, offsets, bits)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(bits)))


@dataclass
class HhsScorer:
    """Scores persons whose diagnoses and drugs come in any number of tables: `add` and `add_drugs` each, then `finish`.

    Raises HccError for the first value that cannot be used; with `report` persons that cannot be scored are in
    `refused`, and diagnoses and drugs that cannot be used are excluded by name, and their persons scored without them.
    """

    benefit_year: int
    persons: Persons
    report: bool = False
    refused: list[Refusal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index = MemberIndex(self.persons.ids)
        self._arrays: CompiledHhs = compiled_hhs(self.benefit_year)
        self._ccs = np.zeros((len(self.persons), WORDS), np.uint64)
        self._rxcs = np.zeros(len(self.persons), np.int64)
        self._calendar = kernels.calendar_of(self.benefit_year)
        years, month_days = np.empty(len(self.persons), np.int16), np.empty(len(self.persons), np.int16)
        kernels.birthdays(self.persons.born, years, month_days)
        self._born = kernels.Births(self.persons.born, years, month_days)
        self._excluded: list[pa.Table] = []
        self._strangers: set[str] = {refusal.member_id for refusal in self.refused}

    @classmethod
    def of(
        cls, members: Columns, benefit_year: int, *, metal: str = "", enrolled: bool = True, report: bool = False
    ) -> "HhsScorer":
        """A scorer of these members, at their own metal or all at `metal`; columns are those of `read_persons`.

        Raises HccError for a year without tables, or members that cannot be used.
        """
        read, refusals = read_persons(_table(members), load_hhs(benefit_year), metal, enrolled)
        if refusals and not report:
            raise HccError(told(refusals))
        return cls(benefit_year, read, report, list(refusals))

    def add(self, diagnoses: Columns) -> None:
        """Takes diagnoses: columns member_id, icd10 and service_date, in any order; a repeated one counts once."""
        reader = Reader(renamed(_table(diagnoses)), "diagnoses")
        ids, icd10, dates = (reader.needed(name) for name in ("member_id", "icd10", "service_date"))
        rows, numbers = self.index.rows(ids), encode_codes(icd10, self._arrays.lookup)
        days = reader.days("service_date", dates)
        for row, (column, value, reason) in sorted(reader.refused.items()):  # a text that is no date
            self._exclude(ids, icd10, np.array([row]), "diagnosis", f"{column} is {value}: it {reason}")
            rows[row] = -1
        self._own(ids, rows, list(reader.refused))
        on = np.where(np.isnan(days), kernels.NO_DAY, days).astype(np.int64)
        people, fits = self.persons, np.empty(len(rows), np.int8)
        kernels.fit(rows, on, self._born, people.age_last, self._calendar, fits)
        for wrong, reason in REASONS.items():
            self._exclude(ids, icd10, np.flatnonzero(fits == wrong), "diagnosis", reason)
        malformed = np.flatnonzero((rows >= 0) & (fits == kernels.FITS) & (numbers == MALFORMED))
        self._exclude(ids, icd10, malformed, "diagnosis", NO_CODE)
        person = (self._born, people.age_last, people.female)
        years = (self._calendar, self._arrays.first_fiscal_year)
        kernels.collect(rows, numbers, on, fits, *person, *years, self._arrays.codes, self._ccs)

    def add_drugs(self, drugs: Columns) -> None:
        """Takes drugs: columns member_id and ndc or hcpcs or both, and if there is one fill_date."""
        reader = Reader(renamed(_table(drugs)), "drugs")
        ids, filled = reader.needed("member_id"), reader.column("fill_date")
        kinds = [kind for kind in ("ndc", "hcpcs") if reader.column(kind) is not None]
        if not kinds:
            raise HccError(
                f"drugs have neither a column ndc nor hcpcs; they have {', '.join(reader.table.column_names)}"
            )
        rows = self.index.rows(ids)
        self._own(ids, rows, [])
        fits = np.full(len(rows), kernels.FITS, np.int8)
        codes = reader.needed(kinds[0])
        if filled is not None:
            days = reader.days("fill_date", filled)
            on = np.where(np.isnan(days), kernels.NO_DAY, days).astype(np.int64)
            kernels.fit(rows, on, self._born, self.persons.age_last, self._calendar, fits)
            for number, reason in REASONS.items():
                said = reason.replace("date of service", "fill date")
                self._exclude(ids, codes, np.flatnonzero(fits == number), kinds[0], said)
        for kind in kinds:
            values = reader.needed(kind)
            classes, wrong = self._classes(kind, values)
            usable = (rows >= 0) & (fits == kernels.FITS)
            self._exclude(ids, values, np.flatnonzero(usable & wrong), kind, f"is no {kind.upper()} code")
            held = np.flatnonzero(usable & (classes > 0))
            adult = self.persons.model[rows[held]] == ADULT
            self._exclude(ids, values, held[~adult], kind, NOT_ADULT, stop=False)
            np.bitwise_or.at(self._rxcs, rows[held[adult]], 1 << classes[held[adult]])

    def _classes(self, kind: str, values: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The drug class of each code, 0 for none, and which codes cannot be one. A missing one is none of a kind."""
        if pa.types.is_null(values.type):
            return np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
        encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        if not (pa.types.is_string(encoded.dictionary.type) or pa.types.is_large_string(encoded.dictionary.type)):
            raise HccError(f"column {kind} of the drugs is {encoded.dictionary.type}, not text: leading zeros are lost")
        known, classes, wrong = load_hhs(self.benefit_year).drugs, [0], [False]
        for text in encoded.dictionary.to_pylist():
            code = drug_code(kind, text)
            classes.append(known.get((kind, code), 0))
            wrong.append(not code and bool(text.strip()))
        at = np.asarray(encoded.indices.fill_null(-1), np.int64) + 1
        return np.array(classes, np.int64)[at], np.array(wrong, np.bool_)[at]

    def _own(self, ids: pa.Array, rows: NDArray[np.int64], known_bad: list[int]) -> None:
        """Refuses the owners of rows that are nobody's; those refused already are left out in silence."""
        strangers = rows < 0
        strangers[known_bad] = False
        fresh: dict[str, Refusal] = {}
        for i in np.flatnonzero(strangers).tolist():
            member = str(ids[i].as_py())
            if member not in self._strangers:
                fresh.setdefault(member, Refusal(member, "member_id", repr(member), "has claims but is no member"))
        self._refuse(fresh)

    def _refuse(self, fresh: Mapping[str, Refusal]) -> None:
        if fresh and not self.report:
            raise HccError(told(list(fresh.values())))
        self.refused += fresh.values()
        self._strangers |= fresh.keys()

    def _exclude(
        self, ids: pa.Array, codes: pa.Array, at: NDArray[np.int64], kind: str, reason: str, stop: bool = True
    ) -> None:
        """Names what does not count; where `stop`, without `report` an error."""
        if not len(at):
            return
        if stop and not self.report:
            code = codes[int(at[0])].as_py()
            more = f" (and {len(at) - 1} more)" if len(at) > 1 else ""
            raise HccError(f"member {ids[int(at[0])].as_py()}: {kind} {code!r} {reason}{more}")
        places = pa.array(at)
        columns = [_text(ids.take(places)), pa.array([kind] * len(at)), _text(codes.take(places)), [reason] * len(at)]
        self._excluded.append(pa.table(dict(zip(_EXCLUSIONS.names, columns, strict=True)), _EXCLUSIONS))

    def fresh(self) -> "Callable[[], HhsScorer]":
        """Makes a scorer of the same persons that has taken nothing, and reports what cannot be used."""
        return partial(HhsScorer, self.benefit_year, self.persons, True)

    def taken(self) -> pa.Table:
        """What was taken of diagnoses so far, for `absorb` of another scorer of the same persons."""
        touched = np.flatnonzero(self._ccs.any(axis=1))
        told = {"refused": [asdict(refusal) for refusal in self.refused], "excluded": self.excluded().to_pydict()}
        return sets_and_told(touched, self._ccs[touched], told)

    def absorb(self, taken: pa.Table) -> int:
        """Takes what another has `taken`, in how many persons; sets are united: order and repetition do not matter."""
        rows, ccs, notes = from_sets_and_told(taken, WORDS)
        for note in notes:
            fresh = [Refusal(**refusal) for refusal in note["refused"]]
            self._refuse({each.member_id: each for each in fresh if each.member_id not in self._strangers})
            excluded = pa.table(note["excluded"], _EXCLUSIONS)
            if excluded.num_rows and not self.report:
                first = excluded.slice(0, 1).to_pylist()[0]
                raise HccError(f"member {first['member_id']}: {first['kind']} {first['code']!r} {first['reason']}")
            self._excluded.append(excluded)
        np.bitwise_or.at(self._ccs, rows, ccs)
        return len(rows)

    def excluded(self) -> pa.Table:
        """Diagnoses and drugs so far that do not count: member_id, kind, code, reason, each once."""
        found = pa.concat_tables(self._excluded) if self._excluded else _EXCLUSIONS.empty_table()
        return found.group_by(_EXCLUSIONS.names, use_threads=False).aggregate([])

    def scores_of(self, people: Persons, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Scores in thousandths of enrolments of the persons at `rows`, each at its own metal and months."""
        return self._scored(people, self._ccs[rows], self._standing()[rows], 1)[-1][:, 0]

    def _standing(self) -> NDArray[np.int64]:
        standing = np.empty_like(self._rxcs)
        kernels.stand(self._rxcs, self._arrays.rules.rxc_drops, standing)
        return standing

    def _scored(
        self, people: Persons, ccs: NDArray[np.uint64], rxcs: NDArray[np.int64], columns: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Payment HCCs, ends and variables of each person, and scores."""
        n, rules = len(people), self._arrays.rules
        # HCCs and groups are no more than CCs; beside them are age and sex, counts, months, drug classes and pairs
        most = int(np.bitwise_count(ccs).sum()) + 5 * n + (RXCS + len(rules.pairs.variable)) * int((rxcs != 0).sum())
        hccs, ends, variables = np.empty((n, WORDS), np.uint64), np.empty(n, np.int64), np.empty(most, np.int32)
        person = (people.model, people.age_last, people.female, people.duration)
        kernels.variables_of(ccs, rxcs, *person, rules, hccs, ends, variables)
        raw = np.empty((n, columns), np.int32)
        kernels.total(ends, variables, people.metal, rules.coefficients, raw)
        return hccs, ends, variables[: ends[-1] if n else 0].copy(), raw

    def finish(self, *, all_metals: bool = False) -> HhsScores:
        """The scores."""
        people = self.persons
        standing = self._standing()
        hccs, ends, variables, raw = self._scored(people, self._ccs, standing, len(METALS) if all_metals else 1)
        model = load_hhs(self.benefit_year)
        return HhsScores(model, people, hccs, standing, ends, variables, raw, self.excluded(), tuple(self.refused))


def _table(columns: Columns) -> pa.Table:
    return columns if isinstance(columns, pa.Table) else pa.table(dict(columns))


def _text(values: pa.Array) -> pa.Array:
    decoded = values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values
    return pc.cast(decoded, pa.string())


def drug_code(kind: str, text: str) -> str:
    """The code as the tables have it; empty where it can be none. An NDC may be written 5-4-2."""
    code = text.strip().upper()
    if kind == "hcpcs":
        return code if len(code) == 5 and code.isascii() and code.isalnum() else ""
    parts = code.split("-")
    if len(parts) > 1 and [len(part) for part in parts] != [5, 4, 2]:
        return ""
    digits = "".join(parts)
    return digits if len(digits) == _NDC_DIGITS and digits.isascii() and digits.isdigit() else ""


def score(
    members: Columns,
    diagnoses: Columns,
    benefit_year: int,
    drugs: Columns | None = None,
    *,
    metal: str = "",
    all_metals: bool = False,
    report: bool = False,
) -> HhsScores:
    """Scores `members` by their `diagnoses` and `drugs` with the HHS-HCC models of a benefit year.

    See `HhsScorer` for the columns. Everybody is scored at the own metal, at `metal`, or with `all_metals` at all five.
    Raises HccError, naming member and value, for anything that cannot be used; with `report` those are named and the
    others scored.
    """
    scorer = HhsScorer.of(members, benefit_year, metal=metal, report=report)
    scorer.add(diagnoses)
    if drugs is not None:
        scorer.add_drugs(drugs)
    return scorer.finish(all_metals=all_metals)
