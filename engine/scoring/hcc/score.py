"""Risk scores of members from their diagnoses: the same integers in any order and any batches."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.errors import HccError
from engine.scoring.hcc import kernels
from engine.scoring.hcc.compiled import CodeIndex, Compiled, compiled
from engine.scoring.hcc.member_index import MemberIndex
from engine.scoring.hcc.members import Members, read_members
from engine.scoring.hcc.model import MACI, SEGMENTS, HccModel, load_model
from engine.scoring.hcc.reading import Refusal

Columns: TypeAlias = pa.Table | Mapping[str, Any]
_CHUNK = 1 << 25


@dataclass(frozen=True)
class HccScores:
    """Scores of the members that could be scored, in the order given.

    `hccs` [members, 2] is the set of payment HCCs; `raw` in thousandths, [members, 1] of each member's own segment or
    [members, 9] of all; `unmapped` the diagnoses whose code the model does not know, a table of member_id and icd10.
    """

    model: HccModel
    payment_year: int
    members: Members
    hccs: NDArray[np.uint64]
    raw: NDArray[np.int32]
    unmapped: pa.Table
    refused: tuple[Refusal, ...] = ()

    @property
    def raw_score(self) -> NDArray[np.float64]:
        """Raw score of each member's own segment, exact to three decimals."""
        own = self.raw[np.arange(len(self.raw)), self.members.segment] if self.raw.shape[1] > 1 else self.raw[:, 0]
        return own / 1000

    @property
    def normalized_score(self) -> NDArray[np.float64]:
        """Raw score by the year's normalisation factor."""
        return self.raw_score / self.model.year(self.payment_year).normalisation

    @property
    def payment_score(self) -> NDArray[np.float64]:
        """Normalised score less the coding intensity adjustment of Medicare Advantage."""
        return self.normalized_score * (1 - MACI)

    def hcc_lists(self) -> pa.ListArray:
        """The payment HCCs of each member in ascending order."""
        arrays = compiled(self.model.name.lower(), self.payment_year)
        offsets = np.zeros(len(self.hccs) + 1, np.int32)
        kernels.list_hccs(self.hccs, arrays.hccs, offsets, np.empty(0, np.int32))
        values = np.empty(int(offsets[-1]), np.int32)
        if len(values):
            kernels.list_hccs(self.hccs, arrays.hccs, offsets, values)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))

    def table(self) -> pa.Table:
        """member_id, segment, hccs, raw_score, normalized_score, payment_score, and score_<SEGMENT> where all are."""
        columns = {
            "member_id": self.members.ids,
            "segment": _segment_names(self.members.segment),
            "hccs": self.hcc_lists(),
            "raw_score": self.raw_score,
            "normalized_score": self.normalized_score,
            "payment_score": self.payment_score,
        }
        if self.raw.shape[1] > 1:
            columns |= {f"score_{name}": self.raw[:, i] / 1000 for i, name in enumerate(SEGMENTS)}
        return pa.table(columns)

    def ledger(self) -> pa.Table:
        """What the raw scores are made of: member_id, segment, variable, coefficient; sums to each segment's score.

        Of the own segment, or of all nine where all were scored. Only variables that the segment uses.
        """
        arrays, members = compiled(self.model.name.lower(), self.payment_year), self.members
        n = len(members)
        segments = (
            np.tile(np.arange(len(SEGMENTS), dtype=np.int8), (n, 1))
            if self.raw.shape[1] > 1
            else members.segment.reshape(n, 1)
        )
        person = (members.age, members.female, members.orec, members.ltimcaid, members.nemcaid)
        rules, variables = arrays.rules, arrays.variables
        size, out = 0, (np.empty(0, np.int32), np.empty((0, 2), np.int16), np.empty(0))
        for _ in range(2):  # count, then fill
            size = kernels.ledger(self.hccs, *person, segments, rules, variables, *out)
            out = (np.empty(size, np.int32), np.empty((size, 2), np.int16), np.empty(size)) if not len(out[0]) else out
        rows, entries, coefficient = out
        names = pa.DictionaryArray.from_arrays(entries[:, 0].copy(), list(self.model.variables))
        return pa.table(
            {
                "member_id": pa.DictionaryArray.from_arrays(pa.array(rows), members.ids),
                "segment": _segment_names(entries[:, 1]),
                "variable": names,
                "coefficient": coefficient,
            }
        )


def _segment_names(segment: NDArray[Any]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(segment.astype(np.int8), list(SEGMENTS))


@dataclass
class HccScorer:
    """Scores members whose diagnoses come in any number of tables: `add` each, then `finish`.

    Raises HccError for the first value that cannot be used, or with `report` gathers them in `refused` and scores the
    other members. `mce` applies the Medicare Code Editor's age edits, as CMS's software does unless told otherwise.
    """

    model_name: str
    payment_year: int
    members: Members
    mce: bool = True
    report: bool = False
    refused: list[Refusal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index = MemberIndex(self.members.ids)
        self._arrays: Compiled = compiled(self.model_name, self.payment_year)
        self._ccs = np.zeros((len(self.members), 2), np.uint64)
        self._unmapped: list[pa.Table] = []
        self._bad: set[int] = set()

    @classmethod
    def of(
        cls, members: Columns, model: str, payment_year: int, *, mce: bool = True, report: bool = False
    ) -> "HccScorer":
        """A scorer of these members. Raises HccError for an unknown model or year, or members that cannot be used."""
        loaded = load_model(model, payment_year)
        table = members if isinstance(members, pa.Table) else pa.table(dict(members))
        read, refusals = read_members(table, payment_year, loaded.recodes_64)
        if refusals and not report:
            raise HccError(told(refusals))
        return cls(model, payment_year, read, mce, report, list(refusals))

    def add(self, diagnoses: Columns) -> None:
        """Takes diagnoses: columns member_id and icd10, in any order; the same diagnosis twice counts once."""
        table = diagnoses if isinstance(diagnoses, pa.Table) else pa.table(dict(diagnoses))
        for name in ("member_id", "icd10"):
            if table.column_names.count(name) != 1:
                raise HccError(f"diagnoses must have one column {name}; they have {', '.join(table.column_names)}")
        for start in range(0, table.num_rows, _CHUNK):
            part = table.slice(start, _CHUNK)
            self._add(part["member_id"].combine_chunks(), part["icd10"].combine_chunks())

    def _add(self, ids: pa.Array, icd10: pa.Array) -> None:
        rows = self.index.rows(ids)
        numbers = encode_codes(icd10, self._arrays.codes.lookup)
        wrong = (rows < 0) | (numbers == kernels.MALFORMED)
        if wrong.any():
            self._refuse(ids, icd10, rows, numbers, wrong)
            numbers = np.where(wrong, np.int32(kernels.UNMAPPED), numbers)
        unknown = np.flatnonzero((numbers == kernels.UNMAPPED) & ~wrong)
        if len(unknown):
            self._unmapped.append(_pairs(ids.take(pa.array(unknown)), icd10.take(pa.array(unknown))))
        self.collect(rows, numbers)

    def collect(self, rows: NDArray[np.int64], numbers: NDArray[np.int32]) -> None:
        """Takes diagnoses already encoded: the member's row, and the code's number of `encode_codes`."""
        members = self.members
        kernels.collect(
            rows, numbers, members.age, members.female, self._arrays.codes, self._arrays.edits, self.mce, self._ccs
        )

    def _refuse(
        self,
        ids: pa.Array,
        icd10: pa.Array,
        rows: NDArray[np.int64],
        numbers: NDArray[np.int32],
        wrong: NDArray[np.bool_],
    ) -> None:
        found: dict[str, Refusal] = {}
        bad: list[int] = []
        for i in np.flatnonzero(wrong).tolist():
            member, code = str(ids[i].as_py()), icd10[i].as_py()
            if rows[i] < 0:
                found.setdefault(member, Refusal(member, "member_id", repr(member), "has diagnoses but is no member"))
                continue
            bad.append(int(rows[i]))
            shown = "missing" if code is None else repr(code)
            found.setdefault(member, Refusal(member, "icd10", shown, "is not an ICD-10-CM code"))
        self.refuse(list(found.values()), bad)

    def fresh(self) -> "Callable[[], HccScorer]":
        """Makes a scorer of the same members that has taken nothing, and reports what cannot be used."""
        return partial(HccScorer, self.model_name, self.payment_year, self.members, self.mce, True)

    def taken(self) -> pa.Table:
        """What was taken so far, for `absorb` of another scorer of the same members: sets of CCs, and in a last row
        what has to be told, as JSON."""
        touched = np.flatnonzero(self._ccs.any(axis=1))
        told = {
            "refused": [asdict(refusal) for refusal in self.refused],
            "left_out": sorted(self._bad),
            "unmapped": self.unmapped().to_pydict(),
        }
        return sets_and_told(touched, self._ccs[touched], told)

    def absorb(self, taken: pa.Table) -> int:
        """Takes what another has `taken`, in how many members; sets are united: order and repetition do not matter."""
        rows, ccs, notes = from_sets_and_told(taken, self._ccs.shape[1])
        for told in notes:
            self.refuse([Refusal(**refusal) for refusal in told["refused"]], told["left_out"])
            unmapped = pa.table(told["unmapped"], schema=pa.schema({"member_id": "string", "icd10": "string"}))
            if unmapped.num_rows:
                self._unmapped.append(unmapped)
        np.bitwise_or.at(self._ccs, rows, ccs)
        return len(rows)

    def refuse(self, refusals: Sequence[Refusal], rows: Sequence[int]) -> None:
        """Leaves out the members at `rows`, for the reasons given, one a member. Raises the first unless `report`."""
        already = {refusal.member_id for refusal in self.refused}
        fresh = [refusal for refusal in refusals if refusal.member_id not in already]
        if fresh and not self.report:
            raise HccError(told(fresh))
        self.refused += fresh
        self._bad.update(rows)

    def unmapped(self) -> pa.Table:
        """Diagnoses so far whose code the model does not know: member_id and icd10, each pair once."""
        found = pa.concat_tables(self._unmapped) if self._unmapped else _pairs(pa.array([], pa.string()), [])
        return found.group_by(["member_id", "icd10"], use_threads=False).aggregate([])

    def finish(self, *, all_segments: bool = False) -> HccScores:
        """The scores; members with a diagnosis that was refused are left out."""
        members, ccs = self.members, self._ccs
        if self._bad:
            members, ccs = members.without(list(self._bad)), np.delete(ccs, list(self._bad), axis=0)
        n = len(members)
        hccs, raw = np.empty((n, 2), np.uint64), np.empty((n, len(SEGMENTS) if all_segments else 1), np.int32)
        kernels.score(
            ccs,
            members.age,
            members.female,
            members.orec,
            members.ltimcaid,
            members.nemcaid,
            members.segment,
            self._arrays.rules,
            self._arrays.variables,
            hccs,
            raw,
        )
        model = load_model(self.model_name, self.payment_year)
        return HccScores(model, self.payment_year, members, hccs, raw, self.unmapped(), tuple(self.refused))


def sets_and_told(rows: NDArray[np.int64], words: NDArray[np.uint64], told: Mapping[str, Any]) -> pa.Table:
    """Sets [n, words] of members at `rows` as columns row, word_0, ... and told, which a last row has as JSON."""
    columns = {f"word_{w}": np.append(words[:, w], np.uint64(0)) for w in range(words.shape[1])}
    notes = pa.array([None] * len(rows) + [json.dumps(told)], pa.string())
    return pa.table({"row": np.append(rows, -1), **columns, "told": notes})


def from_sets_and_told(
    table: pa.Table, words: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64], list[dict[str, Any]]]:
    """What `sets_and_told` made of rows, sets and notes; several such tables may stand one after the other."""
    row = np.asarray(table["row"])
    sets = np.stack([np.asarray(table[f"word_{w}"]) for w in range(words)], axis=1)
    return row[row >= 0], sets[row >= 0], [json.loads(told) for told in table["told"].drop_null().to_pylist()]


def _pairs(ids: pa.Array, icd10: Any) -> pa.Table:
    def text(values: Any) -> pa.Array:
        decoded = values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values
        return pc.cast(decoded, pa.string()) if isinstance(decoded, pa.Array) else pa.array(decoded, pa.string())

    return pa.table({"member_id": text(ids), "icd10": text(icd10)})


def told(refusals: list[Refusal]) -> str:
    """The first refusal, and how many more there are."""
    more = len(refusals) - 1
    return f"{refusals[0]}" + (f" (and {more} more)" if more else "")


def encode_codes(icd10: pa.Array, codes: CodeIndex) -> NDArray[np.int32]:
    """Numbers of ICD-10-CM codes: UNMAPPED where the model has no CC for it, MALFORMED where it is none."""
    if pa.types.is_dictionary(icd10.type):
        numbers = encode_codes(icd10.dictionary, codes)
        indices = icd10.indices.fill_null(0)
        out = numbers[np.asarray(indices)] if len(numbers) else np.zeros(len(icd10), np.int32)
    else:
        if not (pa.types.is_string(icd10.type) or pa.types.is_large_string(icd10.type)):
            raise HccError(f"column icd10 of the diagnoses is {icd10.type}, not text")
        width = np.int64 if pa.types.is_large_string(icd10.type) else np.int32
        _, offsets, text = icd10.buffers()
        out = np.empty(len(icd10), np.int32)
        if len(icd10):
            bounds = np.frombuffer(offsets, width)[icd10.offset : icd10.offset + len(icd10) + 1]
            letters = np.zeros(1, np.uint8) if text is None or not text.size else np.frombuffer(text, np.uint8)
            kernels.encode(bounds, letters, codes, out)
    if icd10.null_count:
        out = np.where(np.asarray(pc.is_null(icd10)), np.int32(kernels.MALFORMED), out)
    return out


def blend(v24: HccScores | None, v28: HccScores) -> pa.Table:
    """Both models' scores with the weights of the payment year; `v24` None where the year pays by V28 alone.

    As `HccScores.table` of V28, with raw, normalised and payment score blended, and those of each model beside them.
    """
    table = v28.table()
    parts = {"v28": v28} if v24 is None else {"v28": v28, "v24": v24}
    weights = {name: part.model.year(part.payment_year).blend for name, part in parts.items()}
    for score_name in ("raw_score", "normalized_score", "payment_score"):
        blended = sum(weight * getattr(parts[name], score_name) for name, weight in weights.items())
        table = table.set_column(table.column_names.index(score_name), score_name, pa.array(blended))
    if v24 is not None:
        table = table.append_column("hccs_v24", v24.hcc_lists())
    for name, part in parts.items():
        table = table.append_column(f"raw_score_{name}", pa.array(part.raw_score))
        table = table.append_column(f"payment_score_{name}", pa.array(part.payment_score))
    return table


def score(
    members: Columns,
    diagnoses: Columns,
    model: str = "v28",
    payment_year: int = 2026,
    *,
    all_segments: bool = False,
    mce: bool = True,
    report: bool = False,
) -> HccScores:
    """Scores `members` by their `diagnoses` with a CMS-HCC model (v28 or v24) of a payment year.

    Members: member_id, birth_date or age, sex, orec, and optionally dual, new_enrollee, snp, lti, ltimcaid, nemcaid.
    Diagnoses: member_id, icd10. `all_segments` scores each member in all nine segments. Raises HccError, naming member
    and value, for anything that cannot be used; with `report` those are in `refused` and the others are scored.
    """
    scorer = HccScorer.of(members, model, payment_year, mce=mce, report=report)
    scorer.add(diagnoses)
    return scorer.finish(all_segments=all_segments)
