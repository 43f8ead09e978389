"""Why a person has the HCCs and the variables they have: what each diagnosis and drug did on the way.

Written from the tables without the kernels, so that each checks the other.
"""

import datetime as dt
from collections.abc import Iterable, Set
from dataclasses import dataclass

from engine.domain import codes
from engine.scoring.hcc.hhs.model import (
    AGE1,
    INFANT,
    MATURITIES,
    MODELS,
    SEVERITIES,
    Ages,
    CodeRow,
    HhsModel,
    band_of,
    counts,
    durations,
    model_of,
    variable_of,
)

_MOTHER = ("207", "208", "209")
BUNDLED = "codes of a mother and of a newborn in one record: claims of both may be bundled"


@dataclass(frozen=True, slots=True)
class Person:
    """What of a person the models ask for; `duration` is enrolled months."""

    born: dt.date
    age_last: int
    female: bool
    duration: int


@dataclass(frozen=True, slots=True)
class TraceLine:
    """One step from a diagnosis or drug to an HCC or drug class; `cc` and `counts` None where there is none.

    `counts` is what the score takes from it: the HCC, its group, or the drug class; `note` says why, or why not.
    """

    code: str
    day: dt.date | None
    cc: str | None
    counts: str | None
    label: str
    note: str


@dataclass(frozen=True)
class Trace:
    """The lines of a person, the variables that are 1, and notes of the whole record."""

    model: str
    lines: tuple[TraceLine, ...]
    variables: frozenset[str]
    notes: tuple[str, ...]


def trace(
    model: HhsModel,
    person: Person,
    diagnoses: Iterable[tuple[str, dt.date | None]],
    drugs: Iterable[tuple[str, str]] = (),
) -> Trace:
    """The trace of one person: diagnoses as code and day of service, drugs as kind (ndc, hcpcs) and code."""
    kind = MODELS[model_of(person.age_last)]
    found = [
        (code, day, cc, note)
        for code, day in sorted({(codes.diagnosis(code), day) for code, day in diagnoses}, key=str)
        for cc, note in _ccs(model, person, code, day)
    ]
    ccs = {cc for _, _, cc, _ in found if cc is not None}
    removed = {cc: f"dropped by HCC {by}" for by in ccs for cc in model.hierarchy.get(by, ()) if cc in ccs}
    for cc in ccs - removed.keys():
        if cc in model.excluded[kind]:
            removed[cc] = f"not in the {kind} model"
    hccs = ccs - removed.keys()
    group_of = {hcc: name for name, members in model.groups[kind].items() for hcc in members}
    lines = [
        TraceLine(
            code,
            day,
            cc,
            None if cc is None or cc in removed else group_of.get(cc, cc),
            "" if cc is None else model.labels[cc],
            "; ".join(filter(None, (note, "" if cc is None else removed.get(cc, "")))),
        )
        for code, day, cc, note in found
    ]
    rxcs, drug_lines = _rxcs(model, kind, drugs)
    variables = _variables(model, person, kind, hccs, rxcs)
    return Trace(kind, (*lines, *drug_lines), frozenset(variables), _notes(model, person, {code for code, *_ in found}))


def _ccs(model: HhsModel, person: Person, code: str, day: dt.date | None) -> list[tuple[str | None, str]]:
    """The CCs of one diagnosis, each with a note; one None with the reason where there is none."""
    wrong = _wrong_day(model, person, day)
    if wrong or day is None:
        return [(None, wrong)]
    if code not in model.codes:
        return [(None, f"not in HHS-HCC {model.version}")]
    reasons = []
    for row in model.codes[code]:
        reason = _fails(model, person, row, day)
        if not reason:
            return [(cc, "") for cc in row.ccs]
        reasons.append(reason)
    return [(None, "; ".join(reasons))]


def _age(born: dt.date, on: dt.date) -> int:
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def _wrong_day(model: HhsModel, person: Person, day: dt.date | None) -> str:
    if day is None:
        return "has no date of service"
    if day.year != model.benefit_year:
        return f"is not of {model.benefit_year}"
    if day < person.born:
        return "is before birth"
    age = _age(person.born, day)
    return "" if person.age_last - 1 <= age <= person.age_last else f"is at age {age}, age_last is {person.age_last}"


def _fails(model: HhsModel, person: Person, row: CodeRow, day: dt.date) -> str:
    """Why this row of the code does not hold; empty where it does."""
    fiscal = day.year + (day.month >= 10)
    column = min(max(fiscal - model.first_fiscal_year, 0), len(row.valid) - 1)
    if not row.valid[column]:
        return f"no valid code on {day}, fiscal year {fiscal}"
    period = 0 if day.month < 4 else 1 if day.month < 10 else 2
    sex, (low, high) = row.mce_sex[period % len(row.mce_sex)], row.mce_age[period % len(row.mce_age)]
    if sex not in (-1, int(person.female)):
        return f"Medicare Code Editor: {'women' if sex else 'men'} only"
    age = _age(person.born, day)
    if not low <= age <= high:
        return f"Medicare Code Editor: ages {_span((low, high))} only, {age} on {day}"
    if row.sex not in (-1, int(person.female)):
        return f"this CC is for {'women' if row.sex else 'men'}"
    if not row.age_last[0] <= person.age_last <= row.age_last[1]:
        return f"CC {' '.join(row.ccs)} is for ages {_span(row.age_last)} on the last day"
    return ""


def _span(ages: Ages) -> str:
    return f"{ages[0]} to {ages[1]}" if ages[1] < 999 else f"from {ages[0]}"


def _rxcs(model: HhsModel, kind: str, drugs: Iterable[tuple[str, str]]) -> tuple[set[int], list[TraceLine]]:
    classes = [(code, model.drugs.get((drug_kind, code))) for drug_kind, code in sorted(set(drugs))]
    held = {rxc for _, rxc in classes if rxc is not None} if kind == "adult" else set()
    dropped = {other: f"dropped by RXC {rxc}" for rxc, other in model.rxc_drops if rxc in held}
    lines = []
    for code, rxc in classes:
        note = "carries no drug class" if rxc is None else dropped.get(rxc, "")
        if rxc is not None and kind != "adult":
            note = "drug classes count for adults only"
        lines.append(TraceLine(code, None, None, None if note else f"RXC {rxc}", "", note))
    return held - dropped.keys(), lines


def _variables(model: HhsModel, person: Person, kind: str, hccs: Set[str], rxcs: Set[int]) -> set[str]:
    if model_of(person.age_last) == INFANT:
        return _infant(model, person, hccs)
    sets, found = model.sets[kind], {f"{'F' if person.female else 'M'}AGE_LAST_{band_of(kind, person.age_last)}"}
    groups = {name for name, members in model.groups[kind].items() if hccs & set(members)}
    left = hccs - {hcc for members in model.groups[kind].values() for hcc in members}
    found |= groups | {variable_of(hcc) for hcc in left}
    if kind == "adult":
        found |= {f"RXC_{rxc:02d}" for rxc in rxcs}
        for each in model.interactions:
            others = not each.and_one_of or hccs & set(each.and_one_of)
            if each.rxc in rxcs and hccs & set(each.one_of) and others:
                found.add(each.variable)
    count = len(left - set(model.uncounted.get(kind, ()))) + len(groups)
    for name, by_count in counts(model, kind).items():
        if (left | groups) & set(sets.get(name, ())) and min(count, 12) in by_count:
            found.add(by_count[min(count, 12)])
    if hccs & set(sets.get("SEVERE_V3", ())) and (left | groups) & set(sets.get("SEVERE_V3_WITH", ())):
        found.add("INT_GROUP_H")
    if kind == "adult" and person.duration in durations(model) and (count or not model.duration_needs_hcc):
        found.add(durations(model)[person.duration])
    return found


def _infant(model: HhsModel, person: Person, hccs: Set[str]) -> set[str]:
    sets = model.sets["infant"]
    born = [name for name in MATURITIES if hccs & set(sets[name])] if person.age_last == 0 else []
    maturity = born[0] if born else AGE1
    severity = next((n for n in range(SEVERITIES, 0, -1) if hccs & set(sets[f"SEVERITY{n}"])), 1)
    boy = set() if person.female else {"AGE1_MALE" if maturity == AGE1 else "AGE0_MALE"}
    return {f"{maturity}_X_SEVERITY{severity}"} | boy


def _notes(model: HhsModel, person: Person, given: Set[str]) -> tuple[str, ...]:
    """Rule 8 of CMS's instructions: a mother's newborn codes, or a newborn's maternity codes, are to be looked at."""
    ccs = {cc for code in given for row in model.codes.get(code, ()) for cc in row.ccs}
    newborn = {hcc for name in MATURITIES for hcc in model.sets["infant"][name]}
    both = bool(ccs & newborn) and bool(ccs & set(_MOTHER))
    return (BUNDLED,) if both and (person.age_last == 0 or person.age_last > 1) else ()
